// Keeps a page as it is at the broker: it replaces what has changed and nothing else.
"use strict";
(() => {
  const region = document.querySelector("[data-live]");
  const sign = document.getElementById("live");
  const notice = document.getElementById("notice");
  if (!region || !window.EventSource) return;
  let source = null, seen = region.dataset.seen || "", wait = 0, pending = null;
  const fresh = new Map();

  /** Say whether what is shown is up to date. */
  const mark = (on, words) => {
    sign.hidden = false;
    sign.classList.toggle("off", !on);
    sign.textContent = words;
  };

  const element = (html) => {
    const template = document.createElement("template");
    template.innerHTML = html;
    return template.content.firstElementChild;
  };

  /** Make an element like another: what is open, ticked, typed, focused or drawn stays. */
  const morph = (old, now) => {
    for (const { name, value } of [...now.attributes]) {
      if (name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    for (const { name } of [...old.attributes]) {
      if (name !== "open" && name !== "data-shown" && !now.hasAttribute(name)) old.removeAttribute(name);
    }
    // The words of an age are written here (ages.js).
    if (now.matches("time[data-age]") && !now.textContent) return;
    const left = [...old.childNodes].filter((each) => !each.dataset || !("own" in each.dataset));
    for (const next of [...now.childNodes]) {
      if (next.nodeType === Node.COMMENT_NODE || (next.dataset && "own" in next.dataset && old.querySelector("[data-own]"))) continue;
      const at = left.findIndex((each) => each.nodeName === next.nodeName && (each.id || "") === (next.id || ""));
      if (at < 0) {
        old.insertBefore(next, left[0] || null);
        continue;
      }
      for (const gone of left.splice(0, at)) gone.remove();
      const same = left.shift();
      if (next.nodeType === Node.TEXT_NODE) { if (same.data !== next.data) same.data = next.data; }
      else if (!next.dataset || !("part" in next.dataset)) morph(same, next);
    }
    for (const gone of left) gone.remove();
  };

  const rows = () => region.querySelector("[data-rows]");
  const busy = (list) => list.matches(":hover") || list.contains(document.activeElement)
    || Boolean(list.querySelector("input:checked, details[open]"));

  /** Put the rows into their order; while somebody is at them, say that they have changed. */
  const arrange = (insist) => {
    const list = rows();
    if (!pending || !list) return;
    const all = new Set(pending);
    for (const each of list.children) each.classList.toggle("gone", !all.has(each.id));
    const added = pending.filter((id) => !document.getElementById(id));
    const gone = [...list.children].filter((each) => !all.has(each.id));
    if (!insist && busy(list)) {
      const words = [added.length && `${added.length} came`, gone.length && `${gone.length} went`].filter(Boolean);
      tell(`The list has changed${words.length ? `: ${words.join(", ")}` : ""}.`, () => arrange(true));
      return;
    }
    gone.forEach((each) => each.remove());
    pending.forEach((id, place) => {
      const row = document.getElementById(id) || (fresh.has(id) && element(fresh.get(id)));
      if (row && list.children[place] !== row) list.insertBefore(row, list.children[place] || null);
    });
    for (const [id, html] of fresh) apply(id, html);
    pending = null;
    fresh.clear();
    notice.hidden = true;
    document.dispatchEvent(new CustomEvent("duly:rows"));
  };

  const apply = (id, html) => {
    const old = document.getElementById(id), now = element(html);
    if (old && now && region.contains(old)) morph(old, now);
    return Boolean(old);
  };

  /** Show one line with what one may do about it; reading is not interrupted. */
  const tell = (words, act) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Show";
    button.addEventListener("click", act);
    notice.replaceChildren(`${words} `, button);
    notice.hidden = false;
  };

  const problem = (html) => {
    const down = document.getElementById("down");
    down.innerHTML = html;
    down.hidden = !html;
  };

  const take = (event) => {
    wait = 0;
    seen = event.lastEventId;
    const news = JSON.parse(event.data);
    for (const [id, html] of Object.entries(news.parts)) if (!apply(id, html)) fresh.set(id, html);
    if (news.rows) pending = news.rows;
    arrange(false);
    if (news.frame) tell("This page has changed.", () => location.reload());
    if ("problem" in news) problem(news.problem);
    mark(!news.problem && document.getElementById("down").hidden, document.getElementById("down").hidden ? "Live" : "Not live");
    document.dispatchEvent(new CustomEvent("duly:live"));
  };

  const stop = () => { source?.close(); source = null; };

  const start = () => {
    stop();
    if (document.hidden || document.documentElement.dataset.updates === "off") return;
    const address = new URL(region.dataset.live, location.href);
    if (seen) address.searchParams.set("_seen", seen);
    source = new EventSource(address);
    source.onmessage = take;
    source.onerror = () => {
      const full = source.readyState === EventSource.CLOSED;
      stop();
      mark(false, full ? "Not live" : "Reconnecting");
      wait = Math.min(Math.max(wait * 2, 1000), 30000);
      setTimeout(start, wait * (0.7 + Math.random() * 0.6));
    };
  };

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) { follow(); return; }
    stop();
    mark(false, "Paused");
  });
  region.addEventListener("pointerleave", () => arrange(false));
  region.addEventListener("focusout", () => setTimeout(() => arrange(false)));
  addEventListener("pagehide", stop);
  /** What one has chosen (preferences.js) also holds for a page that is open already. */
  const follow = () => {
    if (document.documentElement.dataset.updates !== "off") { if (!source) start(); return; }
    stop();
    mark(false, "Updates are off");
  };
  document.addEventListener("duly:preferences", follow);
  follow();
})();
