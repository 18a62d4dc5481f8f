// Keeps a page as it is at the broker: it replaces what has changed and nothing else.
"use strict";
(() => {
  const region = document.querySelector("[data-live]");
  const sign = document.getElementById("live");
  const notice = document.getElementById("notice");
  if (!region || !window.EventSource) return;
  let source = null, seen = region.dataset.seen || "", wait = 0, pending = null, stale = false;
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

  const own = (each) => Boolean(each.dataset) && "own" in each.dataset;

  /** Make an element like another: what is open, ticked, typed, focused or drawn stays. */
  const morph = (old, now, whole = false) => {
    for (const { name, value } of [...now.attributes]) {
      if (name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    for (const { name } of [...old.attributes]) {
      if (name !== "open" && name !== "data-shown" && !now.hasAttribute(name)) old.removeAttribute(name);
    }
    // The words of an age are written here (ages.js).
    if (now.matches("time[data-age]") && !now.textContent) return;
    const left = [...old.childNodes].filter((each) => !own(each)), keeps = [...old.children].some(own);
    for (const next of [...now.childNodes]) {
      if (next.nodeType === Node.COMMENT_NODE || (own(next) && keeps)) continue;
      const at = left.findIndex((each) => each.nodeName === next.nodeName && (each.id || "") === (next.id || ""));
      if (at < 0) {
        old.insertBefore(next, left[0] || null);
        continue;
      }
      for (const gone of left.splice(0, at)) gone.remove();
      const same = left.shift();
      if (next.nodeType === Node.TEXT_NODE) { if (same.data !== next.data) same.data = next.data; }
      else if (whole || !next.dataset || !("part" in next.dataset)) morph(same, next, whole);
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

  // One button for all that is told: pressing it takes the focus from the list, which tells anew, and
  // a button that is replaced between press and release gets no click.
  const show = document.createElement("button"), told = document.createTextNode("");
  let act = null;
  show.type = "button";
  show.addEventListener("click", () => act());

  /** Show one line with what one may do about it; reading is not interrupted. */
  const tell = (words, then, label = "Show") => {
    told.data = `${words} `;
    act = then;
    show.textContent = label;
    if (!notice.contains(show)) notice.replaceChildren(told, show);
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
    if (news.frame || (news.rows?.length && !rows())) stale = true;
    renew();
    if ("problem" in news) problem(news.problem);
    mark(!news.problem && document.getElementById("down").hidden, document.getElementById("down").hidden ? "Live" : "Not live");
    document.dispatchEvent(new CustomEvent("duly:live"));
  };

  const typed = (field) => (field.type === "checkbox" || field.type === "radio"
    ? field.checked !== field.defaultChecked
    : field.options ? [...field.options].some((each) => each.selected !== each.defaultSelected)
      : field.type !== "hidden" && field.value !== field.defaultValue);

  /** Whether somebody would lose something if the page were made anew: a question, a word, the place. */
  const held = () => {
    const list = rows(), fields = [...region.querySelectorAll("input, textarea, select")];
    return Boolean(list && busy(list)) || fields.some((each) => typed(each) || each === document.activeElement)
      || Boolean(region.querySelector("details.confirm[open], details.menu[open]"));
  };

  /** More than parts and rows has changed: take the page as it is now, unless somebody is at it. */
  const renew = async () => {
    if (!stale) return;
    const offer = () => { stale = true; tell("This page has changed.", () => location.reload()); };
    if (held()) { offer(); return; }
    stale = false;
    try {
      const answer = await fetch(region.dataset.page || location.href, { credentials: "same-origin", redirect: "error" });
      if (!answer.ok) throw new Error(answer.statusText);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (held()) { offer(); return; }
      morph(region, page.querySelector("[data-live]"), true);
      seen = region.dataset.seen;
      pending = null;
      fresh.clear();
      notice.hidden = true;
      document.title = page.title;
    } catch { offer(); return; }
    document.dispatchEvent(new CustomEvent("duly:rows"));
    document.dispatchEvent(new CustomEvent("duly:live"));
    if (source) start();
  };

  /** Nobody is at it any more. */
  const settle = () => { arrange(false); renew(); };

  const stop = () => { source?.close(); source = null; };

  /** Whether the page asks for a log-in: a stream that is refused does not say why. */
  const loggedOut = async () => {
    try {
      const options = { credentials: "same-origin", redirect: "manual", headers: { Accept: "text/html" } };
      const answer = await fetch(region.dataset.page || location.href, options);
      return answer.type === "opaqueredirect" || answer.status === 401;
    } catch { return false; }
  };

  const start = () => {
    stop();
    if (document.hidden || document.documentElement.dataset.updates === "off") return;
    const address = new URL(region.dataset.live, location.href);
    if (seen) address.searchParams.set("_seen", seen);
    source = new EventSource(address);
    source.onmessage = take;
    source.onerror = async () => {
      const refused = source.readyState === EventSource.CLOSED;
      stop();
      mark(false, refused ? "Not live" : "Reconnecting");
      if (refused && await loggedOut()) {
        mark(false, "Logged out");
        tell("Your session has ended.", () => location.reload(), "Log in");
        return;
      }
      if (source) return; // somebody has come back to the page meanwhile
      wait = Math.min(Math.max(wait * 2, 1000), 30000);
      setTimeout(start, wait * (0.7 + Math.random() * 0.6));
    };
  };

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) { follow(); return; }
    stop();
    mark(false, "Paused");
  });
  region.addEventListener("pointerleave", settle);
  region.addEventListener("focusout", () => setTimeout(settle));
  region.addEventListener("toggle", settle, true);
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
