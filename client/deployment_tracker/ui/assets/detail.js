// One deployment: what it is, when it ends, and its tabs. The open tab is the address's.

import { html, useEffect } from "./vendor/htm-preact.js";
import { api } from "./api.js";
import { Away } from "./list.js";
import { Button, Countdown, Icon, Link, Note, Problem, State, Time, useLoaded, useNow } from "./parts.js";
import { Deliveries, PlanTab, Resources, Timeline, allResources } from "./tabs.js";
import {
  absolute, counted, counts, hourly, isEnding, isLive, isOver, left, length, money, place, shape, state, who, whyNotExtend,
} from "./words.js";

const TABS = [["resources", "Resources"], ["timeline", "Timeline"], ["deliveries", "Deliveries"], ["plan", "Plan"]];

export function useDetail(key, say) {
  const found = useLoaded(async () => (key ? shape(await api.get(key)) : null), key ? 4 : 0, [key]);
  const word = found.value && state(found.value, Date.now()).word;
  useEffect(() => {
    if (word) say(`${key}: ${word.toLowerCase()}.`, "quiet");
  }, [word]);
  return found;
}

export function Detail({ found, name, tab, to, open, back, say }) {
  const of = found.value;
  if (!of && found.error && found.error.status === 404) {
    return html`<section class="empty"><h2>${name} isn't recorded</h2><p>It may have been over for longer than the stack keeps records.</p>
      <${Link} class="button primary" href="/" to=${to}>All deployments<//></section>`;
  }
  if (!of) return found.error ? html`<${Away} error=${found.error} again=${found.again} />` : html`<p class="loading">Asking the stack…</p>`;
  const counts = { resources: allResources(of).length, timeline: of.events.length };
  const path = `/d/${encodeURIComponent(name)}`;
  return html`<article class="detail">
    ${found.error && html`<div class="stale"><${Problem} error=${found.error} /><p>What is shown is from ${new Date(found.at).toLocaleTimeString()}.</p></div>`}
    <p class="crumb"><${Link} href=${back} to=${to}><${Icon} name="back" />All deployments<//></p>
    <${Head} of=${of} open=${open} />
    <${Notes} of=${of} name=${name} />
    <${Facts} of=${of} to=${to} />
    <div class="tabs" role="tablist" aria-label="About this deployment">${TABS.map(([id, label], at) => html`
      <a role="tab" id=${`tab-${id}`} aria-controls="tabpanel" aria-selected=${tab === id ? "true" : "false"} tabindex=${tab === id ? 0 : -1} href=${`${path}?tab=${id}`}
        onClick=${(event) => { if (!event.metaKey && !event.ctrlKey) { event.preventDefault(); to(`${path}?tab=${id}`, true); } }}
        onKeyDown=${(event) => turn(event, at, (next) => to(`${path}?tab=${next}`, true))}>${label}${counts[id] !== undefined && html` <span>${counts[id]}</span>`}</a>`)}
    </div>
    <section id="tabpanel" role="tabpanel" aria-labelledby=${`tab-${tab}`} tabindex="0">
      ${tab === "resources" ? html`<${Resources} of=${of} />`
        : tab === "timeline" ? html`<${Timeline} of=${of} />`
        : tab === "deliveries" ? html`<${Deliveries} key=${name} of=${of} say=${say} />`
        : html`<${PlanTab} key=${name} of=${of} />`}
    </section>
  </article>`;
}

function turn(event, at, go) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const next = step ? (at + step + TABS.length) % TABS.length : { Home: 0, End: TABS.length - 1 }[event.key];
  if (next === undefined) return;
  event.preventDefault();
  go(TABS[next][0]);
  document.getElementById(`tab-${TABS[next][0]}`).focus();
}

function Head({ of, open }) {
  const now = useNow(5);
  const why = whyNotExtend(of);
  const failed = of.quarantined || of.last_error;
  const notLive = isEnding(of) ? "It is ending." : isOver(of) ? "It is over." : "";
  return html`<header class="head">
    <div class="head-name"><h1 tabindex="-1">${of.blueprint_id}</h1><${State} of=${of} /></div>
    <div class="head-end"><${Countdown} of=${of} /><${Button} data-action="extend" why=${why} onClick=${() => open("extend", [of])}>Extend<//></div>
    <div class="head-actions">
      ${failed && isLive(of) ? html`<${Button} kind="danger" onClick=${() => open("retry", [of])}>Retry the cleanup<//>`
        : html`<${Button} kind="danger" why=${notLive} onClick=${() => open("end", [of])}>End<//>`}
      ${of.hold ? html`<${Button} onClick=${() => open("unhold", [of])}>Release the hold<//>`
        : html`<${Button} why=${notLive} onClick=${() => open("hold", [of])}>Hold<//>`}
      <${Button} why=${notLive} onClick=${() => open("forget", [of])}>Forget<//>
    </div>
    <p class="why-not">${of.cost && of.cost.late > 0 && left(of.expires_at, now) < 0 && html`<span class="bad">${money(of.cost.late, of.cost.currency)} since its time was over.</span>`}
      ${!of.expires_at && isLive(of) && html`<span class="soon">It lives, and costs, until someone ends it.</span>`}
      ${why && !notLive && html`<span>It can't be extended. ${why}</span>`}</p>
  </header>`;
}

function Notes({ of, name }) {
  return html`
    ${of.blueprint_id !== name && html`<${Note} icon="alert">${name} was moved: this is its record under its present key.<//>`}
    ${of.last_error && !isOver(of) && html`<${Note} look="bad" icon=${of.quarantined ? "stop" : "alert"}>
      <strong>${of.quarantined ? `Given up after ${counted(of.failures, "failure")}` : of.failures > 1 ? `The cleanup failed ${of.failures} times` : "The cleanup failed"}</strong>: ${of.last_error.message} <code>${of.last_error.class}</code>
      <p>${of.next_attempt_at ? html`Tried again <${Time} at=${of.next_attempt_at} past="ago, or any moment now" />.` : "It isn't tried again until someone asks for it."}</p><//>`}
    ${isEnding(of) && html`<${Now} of=${of} />`}
    ${of.hold && !isOver(of) && html`<${Note} look="held" icon="hold"><strong>Held</strong> by ${who(of.hold.by)}: ${of.hold.reason}
      <p>Neither time nor a call ends it until the hold is over, <${Time} at=${of.hold.until} />.</p><//>`}
    ${of.brake && of.brake.mode !== "enforce" && html`<${Note} look="soon" icon="hold">${of.brake.message || `The brake is at ${of.brake.mode}.`}<//>`}
    ${of.incomplete && isLive(of) && html`<${Note} look="soon" icon="open"><strong>Incomplete</strong>: ids are missing. Its end looks for what carries its mark${of.mark ? "" : ", if its type can find any"}.<//>`}
  `;
}

// What happens while it is ending.
function Now({ of }) {
  const { round, requested_at, reason } = of.cleanup || {};
  return html`<${Note} icon="moving"><strong>Its cleanup runs</strong>: round ${round || 1}${requested_at && html`, begun <${Time} at=${requested_at} />`}${reason && `, reason ${reason}`}.
    ${of.resources.length > 0 && ` So far ${counts(of.resources)}.`}
    <p>A round is one run of the cleanup; after one that failed there is another. It has ended once everything is proven gone.</p><//>`;
}

function Facts({ of, to }) {
  const labels = Object.entries(of.labels || {});
  const warned = of.warn_before && (of.warn_before.length ? of.warn_before.map((each) => length(each)).join(", ") + " before the end" : "none");
  const facts = [
    ["Type", of.deployment_type],
    ["Place", place(of)],
    ["Owner", of.owner ? html`<${Link} href=${`/?owner=${encodeURIComponent(of.owner)}`} to=${to}>${of.owner}<//>` : null],
    ["Labels", labels.length ? labels.map(([key, value]) => html`<${Link} class="label" href=${`/?label=${encodeURIComponent(`${key}=${value}`)}`} to=${to}>${key}${value && html`<b>${value}</b>`}<//>`) : null],
    ["Rate", of.cost_per_hour ? hourly(of) : null],
    [of.cost ? "Cost so far" : "Cost", of.cost ? money(of.cost.so_far, of.cost.currency) : "unknown: nobody said what an hour costs"],
    ["Deployed", html`<${Time} at=${of.deployed_at} />`],
    isEnding(of) ? ["Ends", null] : isOver(of) && of.ended_at ? ["Ended", html`<time datetime=${of.ended_at}>${absolute(of.ended_at)}</time>`] : ["Ends", of.expires_at ? html`<time datetime=${of.expires_at}>${absolute(of.expires_at)}</time>` : html`<span class="soon">no end</span>`],
    ["Registered by", html`<span title=${of.registered_by}>${who(of.registered_by)}</span>`],
    ["Mark", of.mark ? html`<code>${of.mark.key ? `${of.mark.key}=` : ""}${of.mark.value}</code> <span class="faint">${of.mark.by}</span><small>What carries it is this deployment's.</small>` : null],
    ["Warnings", warned],
    ["Own id", of.id && !of.id.includes(of.generation) ? html`<code>${of.id}</code>` : null],
    ["Generation", html`<code>${of.generation}</code><small>It tells this deployment from a later one under the same name.</small>`],
  ];
  return html`<dl class="facts">${facts.map(([term, value]) => (value === null || value === undefined) ? null : html`<div class=${["Mark", "Generation"].includes(term) ? "broad" : ""}><dt>${term}</dt><dd>${value}</dd></div>`)}</dl>`;
}

export const TAB_NAMES = TABS.map(([id]) => id);
