// Keeps the figures of a page current: every element whose id the gateway names gets its new text, as text.
"use strict";

const page = document.querySelector("[data-live]");

function told(event) {
  const said = JSON.parse(event.data);
  for (const [id, text] of Object.entries(said.texts)) {
    const element = document.getElementById(id);
    if (element && element.textContent !== text) element.textContent = text;
  }
  for (const [name, state] of Object.entries(said.states)) {
    const element = document.getElementById("state-" + name);
    if (element) element.dataset.state = state;
  }
  live("live");
}

function live(text) {
  const element = document.getElementById("live");
  if (element && element.textContent !== text) element.textContent = text;
}

if (page) {
  let source = null;
  const open = () => {
    source = new EventSource(page.dataset.live);
    source.onmessage = told;
    source.onerror = () => live("not live: the gateway does not answer, or you are logged out");
  };
  const close = () => { if (source) source.close(); source = null; };
  // A page that nobody sees asks nothing.
  document.addEventListener("visibilitychange", () => { if (document.hidden) close(); else if (!source) open(); });
  window.addEventListener("pagehide", close);
  if (!document.hidden) open();
}
