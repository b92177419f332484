// The page: the address, the keys, the brake, and which view is shown.

import { html, render, useEffect, useLayoutEffect, useRef, useState } from "./vendor/htm-preact.js";
import { api, openSession } from "./api.js";
import { Bulk } from "./bulk.js";
import { Detail, TAB_NAMES, useDetail } from "./detail.js";
import { End, Extend, Forget, Help, Hold, Unhold } from "./dialogs.js";
import { Away, List, move, useList } from "./list.js";
import { Button, Icon, Key, Link, Said, useLoaded, useNow } from "./parts.js";
import { Adopt, Exempt, Strays, strayCount, useStrays } from "./strays.js";
import { counted, learn, length, whyNotExtend } from "./words.js";

const DIALOGS = { extend: Extend, end: End, retry: End, hold: Hold, unhold: Unhold, forget: Forget, help: Help, adopt: Adopt, exempt: Exempt };

function useAddress() {
  const [at, setAt] = useState(location.pathname + location.search);
  useEffect(() => {
    const moved = () => setAt(location.pathname + location.search);
    addEventListener("popstate", moved);
    return () => removeEventListener("popstate", moved);
  }, []);
  const to = (path, isReplaced = false) => {
    history[isReplaced ? "replaceState" : "pushState"](null, "", path);
    setAt(path);
  };
  const url = new URL(at, location.origin);
  return { path: url.pathname, query: url.searchParams, to };
}

function keyOf(path) {
  try {
    return path.startsWith("/d/") ? decodeURIComponent(path.slice(3)) : null;
  } catch {
    return null;
  }
}

function Page({ stack }) {
  const { path, query, to } = useAddress();
  const key = keyOf(path);
  const view = key !== null ? "detail" : path === "/strays" ? "strays" : "list";
  const [said, setSaid] = useState(null);
  const [quiet, setQuiet] = useState("");
  const say = (text, how) => (how === "quiet" ? setQuiet(text) : setSaid({ id: Date.now(), text }));
  const [dialog, setDialog] = useState(null);
  const [selected, setSelected] = useState(new Set());
  const filters = view === "list" ? query : new URLSearchParams();
  const lastList = useRef("/");
  if (view === "list") lastList.current = path + (String(query) && `?${query}`);
  const list = useList(filters, say);
  const detail = useDetail(key, say);
  const strays = useStrays();
  const brake = useLoaded(() => api.brake(), 5, []);
  const tab = TAB_NAMES.includes(query.get("tab")) ? query.get("tab") : TAB_NAMES[0];
  const open = (word, items = []) => setDialog({ word, items });
  const close = () => setDialog(null);
  const again = () => { list.again(); detail.again(); };
  const done = (text) => {
    close();
    say(text);
    again();
    if (view === "strays") strays.again();
  };
  const setFilters = (next) => to(`/${String(next) && `?${next}`}`, true);
  useKeys({ view, list, detail, open, to, back: lastList.current, setSelected, isOpen: Boolean(dialog) });
  useTitle(view, key, stack);
  useEffect(() => {
    if (!said) return undefined;
    const timer = setTimeout(() => setSaid(null), 8000);
    return () => clearTimeout(timer);
  }, [said]);
  const chosen = (list.value?.items || []).filter((of) => selected.has(of.blueprint_id));
  const Shown = dialog && DIALOGS[dialog.word];
  return html`
    <a class="skip" href="#main">To the deployments</a>
    <header class="top"><div class="bar">
      <${Link} class="brand" href="/" to=${to} aria-label=${`${stack.name}: all deployments`}><${Icon} name="late" /><span>${stack.name}</span><//>
      <nav aria-label="Views"><${Link} href=${lastList.current} to=${to} aria-current=${view === "list" ? "page" : undefined}>Deployments<//>
        ${strays.value && html`<${Link} href="/strays" to=${to} aria-current=${view === "strays" ? "page" : undefined}>Strays${strayCount(strays) > 0 && html` <b class="count">${strayCount(strays)}</b>`}<//>`}</nav>
      <span class="where">${stack.region}${stack.profile && html` · ${stack.profile}`}${stack.is_local && " · on this machine"}</span>
      <${Fresh} of=${view === "detail" ? detail : view === "strays" ? strays : list} />
      <button type="button" class="button small" aria-label="Help: keys" onClick=${() => open("help")}>?</button>
    </div><${Brake} found=${brake} /></header>
    <main id="main" tabindex="-1">
      <h1 class="unseen" hidden=${view === "detail"}>${view === "strays" ? "Strays" : "Deployments"}</h1>
      ${view === "list" ? html`<${List} ...${{ list, filters, setFilters, to, open, selected, setSelected }} />`
        : view === "strays" ? html`<${Strays} found=${strays} open=${open} />`
        : html`<${Detail} key=${key} found=${detail} name=${key} tab=${tab} ...${{ to, open, say }} back=${lastList.current} />`}
    </main>
    ${view === "list" && chosen.length > 0 && html`<section class="selection" aria-label="Selected"><strong>${counted(chosen.length, "deployment")} selected</strong>
      <${Button} onClick=${() => setDialog({ bulk: "extend", items: chosen })}>Extend…<//><${Button} kind="danger" onClick=${() => setDialog({ bulk: "end", items: chosen })}>End…<//>
      <button type="button" class="plain" onClick=${() => setSelected(new Set())}>Select none</button></section>`}
    ${Shown && html`<${Shown} key=${dialog.word} items=${dialog.items} isRetry=${dialog.word === "retry"} onClose=${close} onDone=${done} />`}
    ${dialog?.bulk && html`<${Bulk} word=${dialog.bulk} items=${dialog.items} onClose=${close}
      onDone=${(text, isAll) => { say(text); again(); if (isAll) { setSelected(new Set()); close(); } }} />`}
    <${Said} said=${said} />
    <div class="unseen" role="log" aria-live="polite">${quiet}</div>
  `;
}

function Fresh({ of }) {
  const now = useNow();
  if (!of.at) return html`<span class="fresh"></span>`;
  const age = Math.max(0, (now - of.at) / 1000);
  return html`<span class="fresh ${of.error ? "bad" : ""}" title=${new Date(of.at).toLocaleTimeString()}>${of.error ? html`<${Icon} name="alert" />not reached for ${length(age)}` : html`<i class="pulse"></i>${age < 10 ? "up to date" : `${length(age)} old`}`}</span>`;
}

const MODES = { pause: "paused", observe: "only observed", enforce: "running" };

function Brake({ found }) {
  const brake = found.value;
  if (!brake) return found.error && html`<p class="brake unknown" role="status"><${Icon} name="alert" />The brake isn't known: ${found.error.message}</p>`;
  if (!brake.is_known) return html`<p class="brake unknown" role="status"><${Icon} name="alert" />The brake isn't known: ${brake.why}</p>`;
  const exceptions = Object.entries(brake.exceptions);
  if (brake.mode === "enforce" && !exceptions.length) return null;
  const except = exceptions.map(([platform, mode]) => `${MODES[mode]} at ${platform}`).join(", ");
  const isAll = brake.mode !== "enforce";
  return html`<p class="brake ${isAll ? "all" : "some"}" role="status"><${Icon} name="hold" /><span><strong>${isAll ? `All cleanups are ${MODES[brake.mode]}` : `Cleanups are ${except}`}</strong>${isAll && except ? `, but ${except}` : ""}${
    brake.unreadable ? ", since the brake's value can't be read" : ""}: what is due${isAll ? "" : " there"} stays, and costs. <code>tracker brake resume</code> lets them run.</span></p>`;
}

function useTitle(view, key, stack) {
  useEffect(() => {
    document.title = `${view === "detail" ? key : view === "strays" ? "Strays" : "Deployments"} · ${stack.name}`;
  }, [view, key]);
  // Where another view opens, the focus goes to its beginning; the list gives it back to the row that was left.
  const before = useRef({ view, key });
  useLayoutEffect(() => {
    const last = before.current;
    before.current = { view, key };
    if (last.view === view && last.key === key) return;
    scrollTo(0, 0);
    const row = view === "list" && last.key && document.querySelector(`a.row[data-key="${CSS.escape(last.key)}"]`);
    (row || document.getElementById("main")).focus({ preventScroll: !row });
  }, [view, key]);
}

function useKeys(more) {
  const latest = useRef(more);
  latest.current = more;
  useEffect(() => {
    const pressed = (event) => {
      const { view, list, detail, open, to, back, setSelected, isOpen } = latest.current;
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || isOpen) return;
      const isTyping = event.target.matches?.("input:not([type=checkbox]), select, textarea");
      if (event.key === "Escape") {
        if (isTyping) event.target.blur();
        else if (view !== "list") to(back);
        else return;
      } else if (isTyping) return;
      else if (event.key === "/" && view === "list") document.getElementById("filter")?.focus();
      else if (event.key === "j" || event.key === "k") move(event.key === "j" ? 1 : -1);
      else if (event.key === "?") open("help");
      else if (event.key === "x" || event.key === "e") {
        const key = document.activeElement?.closest("tr")?.querySelector("a.row")?.dataset.key;
        const of = view === "detail" ? detail.value : list.value?.items.find((each) => each.blueprint_id === key);
        if (!of) return;
        if (event.key === "e") { if (!whyNotExtend(of)) open("extend", [of]); }
        else if (view === "list") setSelected((before) => { const next = new Set(before); if (!next.delete(key)) next.add(key); return next; });
      } else return;
      event.preventDefault();
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
}

async function begin() {
  const root = document.getElementById("page");
  root.replaceChildren();
  try {
    await openSession();
    const stack = await api.stack();
    learn(stack.platforms);
    render(html`<${Page} stack=${stack} />`, root);
  } catch (error) {
    render(html`<main><${Away} error=${error} again=${begin} /></main>`, root);
  }
}

begin();
