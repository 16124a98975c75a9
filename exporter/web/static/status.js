"use strict";
// Renew what is shown every ten seconds in place: what is open, focused or selected stays so. Without this script the
// page reloads itself. When Queuemedic does not answer, the page says so instead of looking fresh.
(() => {
  const EVERY = 10000;
  const lost = document.getElementById("lost");

  function isInUse() {
    const selection = document.getSelection();
    return document.hidden || (selection && !selection.isCollapsed);
  }

  function tellLost() {
    const asOf = document.getElementById("as-of");
    document.getElementById("lost-at").textContent = asOf ? asOf.textContent : "an earlier time";
    lost.hidden = false;
  }

  function show(answer) {
    const fresh = answer && answer.getElementById("main");
    if (!fresh) return tellLost();
    const main = document.getElementById("main");
    const open = [...main.querySelectorAll("details[open]")].map((one) => one.id);
    const focus = document.activeElement && document.activeElement.closest("details");
    const next = document.importNode(fresh, true);
    for (const id of open) {
      const one = id && next.querySelector("#" + CSS.escape(id));
      if (one) one.open = true;
    }
    main.replaceWith(next);
    if (focus && focus.id) {
      const again = document.getElementById(focus.id);
      if (again) again.querySelector("summary").focus({ preventScroll: true });
    }
    document.title = answer.title;
    document.getElementById("icon").href = answer.getElementById("icon").getAttribute("href");
    lost.hidden = true;
  }

  function renew() {
    if (isInUse()) return;
    const asked = new XMLHttpRequest();
    asked.open("GET", location.href);
    asked.responseType = "document";
    asked.timeout = EVERY - 1000;
    asked.onload = () => (asked.status === 200 ? show(asked.response) : tellLost());
    asked.onerror = asked.ontimeout = tellLost;
    asked.send();
  }

  setInterval(renew, EVERY);
  document.addEventListener("visibilitychange", renew);
})();
