// Keys for those who do not want to leave the keyboard; `?` lists them.
"use strict";
(() => {
  const dialog = document.getElementById("keys");
  if (!dialog) return;
  const places = Object.fromEntries(
    [...dialog.querySelectorAll("a[data-key]")].map((link) => [link.dataset.key, link.href]),
  );
  let led = false;

  /** The links that name what a page lists, in their order. */
  const rows = () => [...document.querySelectorAll("tbody th[scope=row] a:first-of-type, .failure .cause a:first-of-type")]
    .filter((link) => link.offsetParent);

  const step = (by) => {
    const links = rows();
    if (!links.length) return;
    const at = links.findIndex((link) => link.closest("tr, li, section") === document.activeElement.closest?.("tr, li, section"));
    const next = at < 0 ? (by > 0 ? 0 : links.length - 1) : Math.min(links.length - 1, Math.max(0, at + by));
    links[next].focus();
    links[next].scrollIntoView({ block: "nearest" });
  };

  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
    if (typing || dialog.open || event.ctrlKey || event.metaKey || event.altKey) return;
    const leads = led && places[event.key];
    led = event.key === "g";
    if (leads) location.assign(leads);
    else if (led) { /* The next key says where to. */ }
    else if (event.key === "?") dialog.showModal();
    else if (event.key === "j") step(1);
    else if (event.key === "k") step(-1);
    else return;
    event.preventDefault();
  });

  const opener = document.querySelector("[data-keys]");
  opener.hidden = false;
  opener.addEventListener("click", () => dialog.showModal());
})();
