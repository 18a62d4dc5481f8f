// What one has chosen here: theme, contrast, zone, live updates. Read before anything is painted.
"use strict";
(() => {
  const root = document.documentElement;
  const known = {
    theme: ["system", "light", "dark"],
    contrast: ["system", "more"],
    zone: ["browser", "UTC"],
    updates: ["on", "off"],
  };

  /** A browser may refuse to keep anything: then the defaults hold. */
  const chosen = (name) => {
    try {
      const value = localStorage.getItem(`duly.${name}`);
      return known[name].includes(value) ? value : known[name][0];
    } catch { return known[name][0]; }
  };

  const apply = () => {
    for (const name of Object.keys(known)) root.dataset[name] = chosen(name);
    document.dispatchEvent(new Event("duly:preferences"));
  };

  const zone = () => (chosen("zone") === "UTC" ? "UTC" : Intl.DateTimeFormat().resolvedOptions().timeZone);

  /** Exact instants are in one's zone, with UTC beside it. */
  const exact = () => {
    const name = zone();
    const format = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium", timeZone: name });
    for (const each of document.querySelectorAll("time[datetime][title$=' UTC']")) {
      const utc = each.dataset.utc ?? each.title;
      each.dataset.utc = utc;
      const title = name === "UTC" ? utc : `${format.format(new Date(each.dateTime))} (${name}), ${utc}`;
      if (each.title !== title) each.title = title;
    }
    for (const note of document.querySelectorAll("[data-zone-note]")) note.textContent = name.replaceAll("_", " ");
  };

  const settings = () => {
    const form = document.querySelector("form[data-preferences]");
    if (!form) return;
    form.hidden = false;
    for (const name of Object.keys(known)) form.elements[name].value = chosen(name);
    form.addEventListener("change", ({ target }) => {
      try { localStorage.setItem(`duly.${target.name}`, target.value); } catch { return; }
      apply();
      exact();
      form.querySelector("[role=status]").textContent = "Saved in this browser.";
    });
  };

  apply();
  document.addEventListener("readystatechange", () => {
    if (document.readyState !== "interactive") return;
    exact();
    settings();
  });
  document.addEventListener("duly:live", exact);
})();
