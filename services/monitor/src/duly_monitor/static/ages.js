// Lets ages grow: "3 s ago" is true when it is read, not only when it was written.
"use strict";
(() => {
  const steps = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const loaded = performance.now();
  const began = Number(document.body.dataset.now);
  if (!began) return;

  /** As the server says it (wording.py): at most two units. */
  const spell = (seconds, units) => {
    const at = steps.findIndex(([size]) => seconds >= size);
    if (at < 0) return "0 s";
    const [size, name] = steps[at];
    const next = steps[at + 1];
    const rest = next && units > 1 ? Math.floor((seconds % size) / next[0]) : 0;
    return `${Math.floor(seconds / size).toLocaleString("en")} ${name}${rest ? ` ${rest} ${next[1]}` : ""}`;
  };

  const age = () => {
    if (document.hidden) return;
    // The server's clock goes on by what has passed here: this one may be wrong.
    const now = began + performance.now() - loaded;
    for (const each of document.querySelectorAll("time[data-age]")) {
      const old = each.textContent;
      const distance = (Date.parse(each.dateTime) - now) / 1000;
      const seconds = Math.floor(Math.abs(distance));
      let text = old;
      if (each.title.startsWith("since ")) text = distance < -1 || !old ? spell(seconds, 2) : old;
      else {
        const words = spell(seconds, seconds >= 600 ? 1 : 2);
        text = seconds < 1 ? "now" : distance > 0 ? `in ${words}` : `${words} ago`;
      }
      if (text !== old) each.textContent = text;
    }
  };

  setInterval(age, 1000);
  document.addEventListener("duly:live", age);
  document.addEventListener("visibilitychange", age);
})();
