// Keys for those who do not want to leave the keyboard; `?` lists them.
"use strict";
(() => {
  const dialog = document.getElementById("keys");
  if (!dialog) return;
  const places = Object.fromEntries(
    [...dialog.querySelectorAll("a[data-key]")].map((link) => [link.dataset.key, link.href]),
  );
  let waiting = 0;

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
    const led = waiting && performance.now() - waiting < 1500;
    waiting = 0;
    if (led && places[event.key]) location.assign(places[event.key]);
    else if (event.key === "g") waiting = performance.now();
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
