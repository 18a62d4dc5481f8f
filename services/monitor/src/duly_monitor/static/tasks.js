// Enhances lists of tasks, questions and the progress of bulk operations; all of them work without it.
"use strict";
(() => {
  /** How many of each list are ticked: lists come and go while one looks. */
  const lists = () => {
    for (const form of document.querySelectorAll("form[data-list]")) {
      const all = form.querySelector("[data-select-all]"), box = all.querySelector("input");
      const boxes = [...form.querySelectorAll("input[name=task]")];
      const ticked = boxes.filter((each) => each.checked).length;
      all.hidden = false;
      form.querySelector("[data-selected]").textContent = ticked ? `${ticked} selected` : "";
      box.checked = ticked > 0 && ticked === boxes.length;
      box.indeterminate = ticked > 0 && ticked < boxes.length;
    }
  };
  document.addEventListener("change", ({ target }) => {
    const form = target.closest("form[data-list]");
    if (!form) return;
    if (target.closest("[data-select-all]")) {
      for (const each of form.querySelectorAll("input[name=task]")) each.checked = target.checked;
    }
    lists();
  });
  document.addEventListener("duly:rows", lists);

  /** Questions close by Escape and by a click elsewhere, and give the focus back. */
  const open = () => document.querySelectorAll("details.confirm[open], details.menu[open]");
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const each of open()) {
      each.open = false;
      each.querySelector("summary").focus();
    }
  });
  document.addEventListener("click", (event) => {
    for (const each of open()) if (!each.contains(event.target)) each.open = false;
  });

  /** A slash leads to the search, wherever nothing is being typed. */
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    document.getElementById("search")?.focus();
  });

  /** The progress of a bulk operation is read anew, and nothing but it is replaced. */
  const follow = async () => {
    const old = document.getElementById("bulk");
    const wait = Number(old?.dataset.reload);
    if (!wait) return;
    await new Promise((resolve) => { setTimeout(resolve, wait); });
    if (!document.hidden) {
      try {
        const answer = await fetch(location.href, { credentials: "same-origin" });
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const fresh = page.getElementById("bulk");
        const stop = old.contains(document.activeElement);
        if (fresh) {
          old.replaceWith(fresh);
          if (stop) fresh.querySelector("button")?.focus();
          document.title = page.title;
        }
      } catch { /* The monitor restarts, or the network is away: the next round tries again. */ }
    }
    follow();
  };

  lists();
  follow();
})();
