// The list of deployments: what needs someone comes first. Its filters are the address's.

import { html, useEffect, useLayoutEffect, useRef, useState } from "./vendor/htm-preact.js";
import { api } from "./api.js";
import { Button, Countdown, Icon, Key, Link, Problem, State, useLoaded, useNow } from "./parts.js";
import {
  FACETS, GROUPS, NONE, counted, group, isLive, isOver, matches, money, place, rate, rates, shape, sorted, state, sums, whyNotExtend,
} from "./words.js";

const SECONDS = 5;
// More than these are left out, and the page says so; then the API filters.
const MOST = 1000;
const REGISTER = "tracker register my-service AwsEc2 --in eu-central-1 --id instance_id=i-0123456789abcdef0 --ttl 2h";
const ASKED_OF_API = { overdue: "overdue", quarantined: "quarantined", failing: "failing", held: "held", without_ttl: "without_ttl", owner: "owner", label: "label", type: "deployment_type" };

async function loaded(filters, whole) {
  const query = new URLSearchParams();
  if (filters.get("status")) query.set("status", filters.get("status"));
  if (!whole.current) {
    for (const [name, word] of Object.entries(ASKED_OF_API)) {
      if (filters.get(name)) query.set(word, filters.get(name) === "1" ? "true" : filters.get(name));
    }
    if (filters.get("soon")) query.set("expiring_within", "3600");
  }
  const items = [];
  let cursor = null;
  do {
    if (cursor) query.set("cursor", cursor);
    const page = await api.page(query);
    items.push(...page.deployments.map(shape));
    cursor = page.cursor;
  } while (cursor && items.length < MOST);
  if (cursor) whole.current = false;
  return { items, isCut: Boolean(cursor) };
}

export function useList(filters, say) {
  const whole = useRef(true);
  const before = useRef(null);
  const status = filters.get("status") || "";
  const list = useLoaded(() => loaded(filters, whole), SECONDS, [status, whole.current ? "" : String(filters)]);
  // What changed since the last look, for those who don't see it.
  useEffect(() => {
    if (!list.value) return;
    const now = Date.now();
    const words = new Map(list.value.items.map((of) => [of.blueprint_id, state(of, now).word]));
    if (before.current && before.current.status === status) {
      const changes = [];
      for (const [key, word] of words) {
        const old = before.current.words.get(key);
        if (old === undefined) changes.push(`${key} is new`);
        else if (old !== word) changes.push(`${key}: ${word.toLowerCase()}`);
      }
      for (const key of before.current.words.keys()) if (!words.has(key)) changes.push(`${key} isn't listed any more`);
      if (changes.length) say(changes.length > 3 ? `${changes.length} deployments have changed.` : `${changes.join(", ")}.`, "quiet");
    }
    before.current = { words, status };
  }, [list.value]);
  return list;
}

export function List({ list, filters, setFilters, to, open, selected, setSelected }) {
  const now = useNow(5);
  const found = list.value;
  const items = found ? sorted(found.items.filter((of) => matches(of, filters, now)), now) : [];
  const isFiltered = [...filters.keys()].length > 0;
  useFocusKept(items);
  if (!found) return list.error ? html`<${Away} error=${list.error} again=${list.again} />` : html`<p class="loading">Asking the stack…</p>`;
  return html`
    ${list.error && html`<div class="stale"><${Problem} error=${list.error} /><p>What is shown below is from ${new Date(list.at).toLocaleTimeString()}, and isn't brought up to date.</p></div>`}
    <${Filters} found=${found} filters=${filters} setFilters=${setFilters} now=${now} />
    ${found.isCut && html`<p class="cut">Only the first ${counted(found.items.length, "deployment")} were read. Filter for what you look for.</p>`}
    <${Total} items=${items} now=${now} />
    ${items.length
      ? html`<${Table} items=${items} now=${now} ...${{ to, open, selected, setSelected }} />`
      : isFiltered ? html`<${NoMatch} clear=${() => setFilters(new URLSearchParams())} />` : html`<${Nothing} />`}
  `;
}

function Total({ items, now }) {
  const live = items.filter((of) => !isOver(of));
  const late = sums(live, (of) => of.cost && of.cost.late > 0 && [of.cost.late, of.cost.currency]);
  const unknown = live.filter((of) => !of.cost_per_hour).length;
  const needs = items.filter((of) => group(of, now) === 0).length;
  return html`<p class="total">
    <span><strong>${items.length.toLocaleString("en")}</strong> shown</span>
    ${needs > 0 && html`<span class="bad"><strong>${needs}</strong> need${needs === 1 ? "s" : ""} someone</span>`}
    ${rates(live).map((sum) => html`<span><strong>${sum}</strong> an hour${unknown > 0 ? ` + ${unknown} unknown` : ""}</span>`)}
    ${late.map((sum) => html`<span class="bad"><strong>${sum}</strong> since ends that are over</span>`)}
  </p>`;
}

function Filters({ found, filters, setFilters, now }) {
  const change = (name, value) => {
    const next = new URLSearchParams(filters);
    if (value) next.set(name, value);
    else next.delete(name);
    setFilters(next);
  };
  const among = (of) => [...new Set(found.items.map(of).filter(Boolean))].sort();
  const choice = (name, label, values) => html`<label class="choice"><span class="unseen">${label}</span>
    <select value=${filters.get(name) || ""} onChange=${(event) => change(name, event.target.value)}>
      <option value="">${label}: all</option>
      ${[...new Set([...values, ...(filters.get(name) ? [filters.get(name)] : [])])].map((value) => html`<option value=${value}>${value}</option>`)}
    </select></label>`;
  return html`<div class="filters" role="search" aria-label="Filters">
    <label class="search"><span class="unseen">Filter by name, type, place, owner or label</span><${Icon} name="search" />
      <input id="filter" type="search" placeholder="Filter by name, type, place, owner, label" value=${filters.get("q") || ""}
        onInput=${(event) => change("q", event.target.value)} autocomplete="off" spellcheck=${false} /><${Key}>/<//></label>
    ${choice("type", "Type", among((of) => of.deployment_type))}
    ${choice("owner", "Owner", among((of) => of.owner))}
    <label class="choice"><span class="unseen">Status</span>
      <select value=${filters.get("status") || ""} onChange=${(event) => change("status", event.target.value)}>
        <option value="">Not over yet</option>
        ${["Active", "Failed", "Unknown", "Terminating", "Terminated"].map((value) => html`<option value=${value}>${value}</option>`)}
      </select></label>
    <div class="facets">${FACETS.map((facet) => {
      const count = found.items.filter((of) => facet.has(of, now)).length;
      const isOn = Boolean(filters.get(facet.name));
      return html`<button type="button" class="facet ${count ? facet.look : "none"}" aria-pressed=${isOn ? "true" : "false"} onClick=${() => change(facet.name, isOn ? "" : "1")}>
        ${facet.label} <b>${count}</b></button>`;
    })}
    ${filters.get("label") && html`<button type="button" class="facet" aria-pressed="true" onClick=${() => change("label", "")}>${filters.get("label")} <${Icon} name="close" /></button>`}
    ${[...filters.keys()].length > 0 && html`<button type="button" class="plain" onClick=${() => setFilters(new URLSearchParams())}>Clear filters</button>`}</div>
  </div>`;
}

function Table({ items, now, to, open, selected, setSelected }) {
  const groups = GROUPS.map((name, at) => [name, items.filter((of) => group(of, now) === at)]).filter(([, each]) => each.length);
  const shown = items.filter((of) => !isOver(of)).map((of) => of.blueprint_id);
  const chosen = shown.filter((key) => selected.has(key));
  const all = useRef();
  useLayoutEffect(() => {
    if (all.current) all.current.indeterminate = chosen.length > 0 && chosen.length < shown.length;
  });
  const toggle = (key) => {
    const next = new Set(selected);
    if (!next.delete(key)) next.add(key);
    setSelected(next);
  };
  const heads = [["", "Type"], ["", "Place"], ["", "Owner"], ["", "Status"], ["", "Ends"], ["number", "$/h"], ["number", "Cost"]];
  return html`<table class="list" role="table" aria-label="Deployments">
    <thead role="rowgroup"><tr role="row">
      <th role="columnheader" scope="col" class="check"><input ref=${all} type="checkbox" aria-label="Select all that are shown" checked=${shown.length > 0 && chosen.length === shown.length}
        onChange=${() => setSelected(new Set(chosen.length === shown.length ? [] : shown))} /></th>
      <th role="columnheader" scope="col" class="name">Name</th>
      ${heads.map(([kind, text]) => html`<th role="columnheader" scope="col" class=${kind}>${text}</th>`)}
    </tr></thead>
    ${groups.map(([name, each]) => html`<tbody key=${name} role="rowgroup" class=${name === GROUPS[0] ? "needs" : ""}>
      <tr role="row" class="group"><th role="rowheader" scope="rowgroup" colspan="9" aria-colspan="9">${name} <span>${each.length}</span></th></tr>
      ${each.map((of) => html`<${Row} key=${of.blueprint_id} ...${{ of, to, open, toggle }} isSelected=${selected.has(of.blueprint_id)} />`)}
    </tbody>`)}
  </table>`;
}

function Row({ of, to, open, toggle, isSelected }) {
  const key = of.blueprint_id;
  const labels = Object.entries(of.labels || {});
  const why = whyNotExtend(of);
  return html`<tr role="row" class=${isSelected ? "selected" : ""}>
    <td role="cell" class="check">${!isOver(of) && html`<input type="checkbox" aria-label=${`Select ${key}`} checked=${isSelected} onChange=${() => toggle(key)} />`}</td>
    <td role="cell" class="name"><span class="names"><${Link} class="row" href=${`/d/${encodeURIComponent(key)}`} to=${to} data-key=${key}>${key}<//>
      ${labels.length > 0 && html`<span class="labels">${labels.map(([name, value]) => html`<span class="label">${name}${value && html`<b>${value}</b>`}</span>`)}</span>`}</span></td>
    <td role="cell" data-label="Type">${of.deployment_type}</td>
    <td role="cell" data-label="Place" class="quiet">${place(of)}</td>
    <td role="cell" data-label="Owner">${of.owner || html`<span class="faint">${NONE}</span>`}</td>
    <td role="cell" data-label="Status"><${State} of=${of} /><${Because} of=${of} /></td>
    <td role="cell" data-label="Ends" class="ends"><span class="ends-in"><${Countdown} of=${of} />
      ${!isOver(of) && html`<${Button} kind="small" why=${why} aria-label=${`Extend ${key}${why ? `: ${why}` : ""}`} onClick=${() => open("extend", [of])}>Extend<//>`}</span></td>
    <td role="cell" data-label="$/h" class="number">${of.cost_per_hour ? rate(of) : html`<span class="faint" title="Nobody said what it costs">${NONE}</span>`}</td>
    <td role="cell" data-label="Cost" class="number">${of.cost ? money(of.cost.so_far, of.cost.currency) : html`<span class="faint">${NONE}</span>`}
      ${of.cost && of.cost.late > 0 && html`<small class="bad">${money(of.cost.late, of.cost.currency)} late</small>`}</td>
  </tr>`;
}

function Because({ of }) {
  if (isOver(of) || of.status === "Terminating") return null;
  const parts = [];
  if (of.last_error) parts.push(of.last_error.class.replaceAll("_", " "));
  if (of.failures > 1) parts.push(`${of.failures} times`);
  if (of.hold && (of.quarantined || of.last_error)) parts.push("held");
  if (of.hold && !of.quarantined && !of.last_error && of.hold.reason) parts.push(of.hold.reason);
  if (of.incomplete && isLive(of)) parts.push("incomplete");
  return parts.length > 0 && html`<small class="because" title=${parts.join(", ")}>${parts.join(", ")}</small>`;
}

// A row that moves in the list loses the focus in the browser: it is given back.
function useFocusKept(items) {
  const held = useRef(null);
  useEffect(() => {
    const note = (event) => (held.current = event.target.dataset?.key || null);
    document.addEventListener("focusin", note);
    return () => document.removeEventListener("focusin", note);
  }, []);
  const order = items.map((of) => of.blueprint_id).join("\n");
  useLayoutEffect(() => {
    if (held.current && document.activeElement === document.body) document.querySelector(`[data-key="${CSS.escape(held.current)}"]`)?.focus();
  }, [order]);
}

export function move(by) {
  const rows = [...document.querySelectorAll("a.row")];
  if (!rows.length) return;
  const at = rows.indexOf(document.activeElement?.closest("tr")?.querySelector("a.row"));
  const next = at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + by));
  rows[next].focus();
  rows[next].closest("tr").scrollIntoView({ block: "nearest" });
}

function Nothing() {
  const [copied, setCopied] = useState(false);
  return html`<section class="empty"><h2>Nothing is registered</h2><p>What is over is shown by the status Terminated alone. What is deployed appears here once it is registered:</p>
    <pre tabindex="0"><code>${REGISTER}</code></pre>
    <${Button} onClick=${() => navigator.clipboard.writeText(REGISTER).then(() => setCopied(true))}>${copied ? "Copied" : "Copy the command"}<//></section>`;
}

const NoMatch = ({ clear }) => html`<section class="empty"><h2>Nothing matches</h2><p>There are deployments, but none that passes all filters.</p>
  <${Button} kind="primary" onClick=${clear}>Clear filters<//></section>`;

export const Away = ({ error, again }) => html`<section class="empty away"><h2>${error.isAway ? "The stack can't be reached" : "The stack refuses the call"}</h2>
  <p>What is deployed isn't known until it answers: it may well be running, and costing.</p><${Problem} error=${error} />
  <${Button} kind="primary" onClick=${again}>Try again<//></section>`;
