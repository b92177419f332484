// What all views are made of: icons, times, buttons, dialogs, and what is said to a screen reader.

import { html, useEffect, useLayoutEffect, useRef, useState } from "./vendor/htm-preact.js";
import { NONE, SOON, absolute, left, relative, state } from "./words.js";

const SHAPES = {
  active: html`<circle cx="8" cy="8" r="3.5" fill="currentColor" />`,
  open: html`<circle cx="8" cy="8" r="4" fill="none" stroke="currentColor" stroke-width="1.6" stroke-dasharray="2.4 2" />`,
  moving: html`<path d="M13 8a5 5 0 1 1-1.6-3.7M13 2.2v2.6h-2.6" />`,
  late: html`<circle cx="8" cy="8" r="5.6" /><path d="M8 4.8V8l2.2 1.5" />`,
  hold: html`<path d="M5.6 3.5v9M10.4 3.5v9" stroke-width="2.4" />`,
  stop: html`<path d="M5.5 2.2h5L14 5.7v4.6l-3.5 3.5h-5L2 10.3V5.7zM8 5v3.6M8 10.9v.2" />`,
  alert: html`<path d="M8 2.4 14.2 13H1.8zM8 6.4v3M8 11.2v.2" />`,
  over: html`<path d="m3.4 8.4 3 3 6.2-6.6" />`,
  gone: html`<path d="m3.4 8.4 3 3 6.2-6.6" />`,
  kept: html`<rect x="3.4" y="7" width="9.2" height="6.2" rx="1" /><path d="M5.4 7V5a2.6 2.6 0 0 1 5.2 0v2" />`,
  present: html`<rect x="3" y="3" width="10" height="10" rx="2" fill="currentColor" stroke="none" />`,
  leaving: html`<path d="M3 8h9M8.6 4.4 12.2 8l-3.6 3.6" />`,
  unseen: html`<circle cx="8" cy="8" r="4" stroke-dasharray="2.4 2" />`,
  search: html`<circle cx="7" cy="7" r="4.4" /><path d="m10.4 10.4 3.2 3.2" />`,
  back: html`<path d="M9.8 3.4 5.2 8l4.6 4.6" />`,
  close: html`<path d="m4 4 8 8M12 4l-8 8" />`,
  infinity: html`<path d="M8 8c-1.4-2-2.4-2.7-3.6-2.7a2.7 2.7 0 0 0 0 5.4C5.6 10.7 6.6 10 8 8s2.4-2.7 3.6-2.7a2.7 2.7 0 0 1 0 5.4C10.4 10.7 9.4 10 8 8z" />`,
};

export const Icon = ({ name }) => html`<svg class="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false">${SHAPES[name]}</svg>`;

// One clock for the page: all countdowns go by it.
const clocks = new Set();
setInterval(() => document.hidden || clocks.forEach((tick) => tick(Date.now())), 1000);
// The time, each second, or each so many.
export function useNow(seconds = 1) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const tick = (time) => setNow((before) => (time - before >= seconds * 1000 - 500 ? time : before));
    clocks.add(tick);
    return () => clocks.delete(tick);
  }, []);
  return now;
}

export function Time({ at, past = "ago", empty = NONE }) {
  const now = useNow();
  if (!at) return html`<span class="faint">${empty}</span>`;
  return html`<time datetime=${at} title=${absolute(at)}>${relative(left(at, now), past)}</time>`;
}

// How long it still lives: the words, and how much of its life is over as a line.
export function Countdown({ of }) {
  const now = useNow();
  if (of.status === "Terminated") return html`<span class="faint">over${of.ended_at && html` <${Time} at=${of.ended_at} />`}</span>`;
  // What is ending has no time left to count.
  if (of.status === "Terminating") return html`<span class="countdown">ending</span>`;
  if (!of.expires_at) return html`<span class="countdown soon"><${Icon} name="infinity" />No end</span>`;
  const seconds = left(of.expires_at, now);
  // What is held needs nobody for being late.
  const isMinded = of.hold && !of.last_error;
  const look = isMinded ? "" : seconds < 0 ? "bad" : seconds < SOON ? "soon" : "";
  const whole = (Date.parse(of.expires_at) - Date.parse(of.deployed_at)) / 1000;
  const spent = whole > 0 ? Math.min(1, Math.max(0, 1 - seconds / whole)) : 1;
  return html`<span class="countdown ${look}">
    <time datetime=${of.expires_at} title=${absolute(of.expires_at)}>${relative(seconds, "late")}</time>
    <span class="life" aria-hidden="true"><span style=${{ width: `${spent * 100}%` }}></span></span>
  </span>`;
}

export function State({ of }) {
  const { word, look, icon } = state(of, useNow());
  return html`<span class="state ${look}"><${Icon} name=${icon} />${word}</span>`;
}

// The page's `to(path)` changes the address without leaving the page.
export function Link({ href, to, children, ...more }) {
  const follow = (event) => {
    if (event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    to(href);
  };
  return html`<a href=${href} onClick=${follow} ...${more}>${children}</a>`;
}

// A button that can't be used says why, to the eye and to a screen reader, and keeps its place among the tab stops.
export function Button({ why, onClick, kind = "", children, ...more }) {
  return html`<button type="button" class="button ${kind}" aria-disabled=${why ? "true" : undefined} title=${why || undefined}
    onClick=${(event) => (why ? event.preventDefault() : onClick(event))} ...${more}>
    ${children}${why && html`<span class="unseen">: ${why}</span>`}
  </button>`;
}

// A modal dialog. Its first safe button has the focus; Esc closes it, and the focus goes back to where it was.
export function Dialog({ title, onClose, busy, wide, why, children, actions }) {
  const box = useRef();
  useLayoutEffect(() => {
    const before = document.activeElement;
    const key = before && before.dataset ? before.dataset.key : undefined;
    const element = box.current;
    element.showModal();
    element.querySelector("[data-safe]")?.focus();
    return () => {
      // What is below a modal dialog can't have the focus.
      element.close();
      const back = before && before.isConnected ? before : key && document.querySelector(`[data-key="${CSS.escape(key)}"]`);
      back?.focus?.();
    };
  }, []);
  const cancel = (event) => {
    event.preventDefault();
    if (!busy) onClose();
  };
  return html`<dialog ref=${box} class=${wide ? "wide" : ""} aria-labelledby="dialog-title" onCancel=${cancel}
    onClick=${(event) => event.target === box.current && cancel(event)}>
    <div class="dialog">
      <h2 id="dialog-title">${title}</h2>
      <div class="dialog-body" tabindex="0" role="group" aria-labelledby="dialog-title">${children}</div>
      <div class="dialog-actions"><span class="dialog-why" aria-hidden="true">${why}</span>${actions}</div>
    </div>
  </dialog>`;
}

export function Field({ label, hint, children }) {
  return html`<label class="field"><span>${label}</span>${children}${hint && html`<small>${hint}</small>`}</label>`;
}

export function Problem({ error }) {
  return html`<div class="note bad" role="alert"><${Icon} name="alert" /><div><strong>${error.message}</strong>
    ${error.code && html` <code>${error.code}</code>`}${error.hint && html`<p>${error.hint}</p>`}</div></div>`;
}

export function Note({ look = "", icon, children }) {
  return html`<div class="note ${look}">${icon && html`<${Icon} name=${icon} />`}<div>${children}</div></div>`;
}

// What has changed, said once to the eye and to a screen reader.
export function Said({ said }) {
  return html`<div class="said" role="status" aria-live="polite">${said && html`<p key=${said.id}>${said.text}</p>`}</div>`;
}

export function Key({ children }) {
  return html`<kbd>${children}</kbd>`;
}

// `load()` now, again every so many seconds while the page is seen, and when `again()` is called.
export function useLoaded(load, seconds, by) {
  const [found, setFound] = useState({ value: null, error: null, at: 0 });
  const turn = useRef(0);
  const latest = useRef(load);
  latest.current = load;
  const again = async () => {
    const mine = ++turn.current;
    try {
      const value = await latest.current();
      // An answer that was overtaken by a later question says nothing.
      if (mine === turn.current) setFound({ value, error: null, at: Date.now() });
    } catch (error) {
      if (mine === turn.current) setFound((before) => ({ ...before, error }));
    }
  };
  useEffect(() => {
    turn.current += 1;
    setFound({ value: null, error: null, at: 0 });
    let timer;
    let ended = false;
    const run = async () => {
      if (!document.hidden) await again();
      if (!ended && seconds) timer = setTimeout(run, seconds * 1000);
    };
    const shown = () => {
      if (document.hidden || !seconds) return;
      clearTimeout(timer);
      run();
    };
    document.addEventListener("visibilitychange", shown);
    run();
    return () => {
      ended = true;
      turn.current += 1;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", shown);
    };
  }, by);
  return { ...found, again };
}
