// The tabs of a deployment: its resources with their proofs, its timeline, its deliveries, and the plan of its cleanup.

import { html, useState } from "./vendor/htm-preact.js";
import { api } from "./api.js";
import { Button, Icon, Note, Problem, Time, useLoaded } from "./parts.js";
import { NONE, absolute, counted, eventDetails, eventLook, eventWord, isEnding, isLive, placed, withoutId } from "./words.js";

// By the API's word: the look, the icon, and what the word means.
const STATES = {
  unseen: ["calm", "unseen", "The tracker hasn't looked at it yet"], present: ["calm", "present", "It is there"], leaving: ["moving", "leaving", "Its deletion was asked for"],
  gone: ["good", "gone", "It is proven gone"], kept: ["held", "kept", "It stays"],
};
const titled = (word) => word[0].toUpperCase() + word.slice(1);

export function ResourceState({ of }) {
  const word = of.state || "unseen";
  const [look, icon, meaning] = STATES[word] || ["calm", "unseen", ""];
  return html`<span class="state ${look}" title=${meaning}><${Icon} name=${icon} />${titled(word)}${of.never_seen && ", never seen"}</span>`;
}

const where = (of) => placed(of, of.id).map(([name, value]) => html`<span class="place"><i>${name}</i> ${value}</span>`);

function ResourceTable({ label, resources }) {
  return html`<table class="plain-table" role="table" aria-label=${label}>
    <thead role="rowgroup"><tr role="row">${["State", "Kind", "Id", "Place", "Proof or detail"].map((each) => html`<th role="columnheader" scope="col">${each}</th>`)}</tr></thead>
    <tbody role="rowgroup">${resources.map((of) => html`<tr role="row" key=${`${of.kind} ${of.id}`}>
      <td role="cell" data-label="State"><${ResourceState} of=${of} /></td>
      <td role="cell" data-label="Kind">${of.kind}</td>
      <td role="cell" data-label="Id"><code>${of.id}</code></td>
      <td role="cell" data-label="Place" class="quiet">${where(of)}</td>
      <td role="cell" data-label="Proof or detail" class="proof">${of.proof && html`<span>${withoutId(of.proof, of.id, of.place?.full_id)}</span>`}${of.detail && html`<span>${of.detail}</span>`}
        ${of.gone_at && html`<small><${Time} at=${of.gone_at} /></small>`}${!of.proof && !of.detail && html`<span class="faint">${NONE}</span>`}</td>
    </tr>`)}</tbody></table>`;
}

// What was seen of it, and what its record names besides.
export function allResources(of) {
  const named = Object.entries(of.resource_ids || {}).flatMap(([key, ids]) => [ids].flat().map((id) => ({ kind: key, id, state: "unseen" })));
  const missing = named.filter((each) => !of.resources.some((other) => other.id === each.id));
  return [...of.resources, ...missing];
}

export function Resources({ of }) {
  const all = allResources(of);
  if (!all.length) return html`<p class="empty-tab">No id was registered yet${of.mark ? ": what carries its mark belongs to it." : "."}</p>`;
  const gone = all.filter((each) => each.state === "gone").length;
  return html`<p class="tab-note">${counted(gone, "resource")} of ${all.length} proven gone. ${of.resources.length ? "As they were last seen by the tracker." : "The tracker hasn't looked yet: the plan does."}</p>
    <${ResourceTable} label="Resources" resources=${all} />`;
}

export function Timeline({ of }) {
  const events = [...of.events].reverse();
  if (!events.length) return html`<p class="empty-tab">Nothing has happened yet.</p>`;
  // How many there were no number tells: those of a record that was put back or adopted go on far further.
  const hasOlder = events[events.length - 1].type !== "registered";
  return html`${events.some((event) => event.round > 0) && html`<p class="tab-note">A round is one run of the cleanup; after one that failed there is another.</p>`}
    <ol class="timeline">${events.map((event) => html`<li key=${event.sequence} class=${eventLook(event.type)}>
      <span class="when"><${Time} at=${event.at} /><small>${absolute(event.at)}</small></span>
      <div><strong>${eventWord(event.type)}</strong>${event.round > 0 && html` <span class="faint">round ${event.round}</span>`}
        <dl>${eventDetails(event).map(([name, text]) => html`<div><dt>${name}</dt><dd>${text}</dd></div>`)}</dl></div>
    </li>`)}</ol>${hasOlder && html`<p class="tab-note">What happened before isn't kept in the record.</p>`}`;
}

const DELIVERY = {
  pending: ["moving", "moving", "It is on its way"], delivered: ["good", "gone", "Its receiver took it"],
  stopped: ["soon", "stop", "Its receiver wants no more"], dead: ["bad", "alert", "It was given up; it can be sent again"],
};

export function Deliveries({ of, say }) {
  const found = useLoaded(() => api.deliveries(of.blueprint_id), 10, [of.blueprint_id]);
  const [busy, setBusy] = useState("");
  if (!found.value) return found.error ? html`<${Problem} error=${found.error} />` : html`<p class="loading">Asking…</p>`;
  if (!found.value.deliveries.length) return html`<p class="empty-tab">${of.cleanup_webhook ? "Its webhook hasn't been sent anything yet." : "It has no webhook of its own."}</p>`;
  const again = async (id) => {
    setBusy(id);
    try {
      await api.redeliver(of.blueprint_id, id);
      say(`Delivery ${id} is sent again.`);
      await found.again();
    } catch (error) {
      say(error.message);
    }
    setBusy("");
  };
  return html`<table class="plain-table" role="table" aria-label="Deliveries">
    <thead role="rowgroup"><tr role="row">${["State", "Id", "To", "Made", "Last attempt", "Again"].map((each) => html`<th role="columnheader" scope="col">${each}</th>`)}</tr></thead>
    <tbody role="rowgroup">${found.value.deliveries.map((each) => {
      const [look, icon, meaning] = DELIVERY[each.state] || ["calm", "open", ""];
      const last = (each.attempts || []).at(-1);
      return html`<tr role="row" key=${each.id}>
        <td role="cell" data-label="State"><span class="state ${look}"><${Icon} name=${icon} />${titled(each.state)}</span><small class="because">${meaning}</small></td>
        <td role="cell" data-label="Id"><code>${each.id}</code></td>
        <td role="cell" data-label="To" class="quiet">${each.url}</td>
        <td role="cell" data-label="Made"><${Time} at=${each.created_at} /></td>
        <td role="cell" data-label="Last attempt">${last ? html`${last.status ? `HTTP ${last.status}` : last.error || "no answer"} <small>${counted(each.attempts.length, "attempt")}${each.next_attempt_at && html`, next <${Time} at=${each.next_attempt_at} />`}</small>` : NONE}</td>
        <td role="cell" data-label="Again"><${Button} kind="small" why=${busy === each.id ? "It is being asked for." : ""} onClick=${() => again(each.id)}>Send again<//></td>
      </tr>`;
    })}</tbody></table>`;
}

// What goes and what stays, as the tab shows it and the dialogs.
export function PlanView({ plan, brief }) {
  const goes = plan.resources.filter((each) => !["kept", "gone"].includes(each.state || "unseen"));
  const stays = plan.resources.filter((each) => each.state === "kept");
  const gone = plan.resources.length - goes.length - stays.length;
  const item = (each) => html`<li><code>${each.id}</code> <span class="kind">${each.kind}</span>${each.detail && html`<small>${each.detail}</small>`}</li>`;
  return html`<div class="plan">
    ${plan.refusal && html`<${Note} look="bad" icon="stop"><strong>Nothing would be deleted</strong>: ${plan.refusal.message} <code>${plan.refusal.class}</code><//>`}
    ${plan.brake && plan.brake.mode !== "enforce" && html`<${Note} look="soon" icon="hold">The brake is at <strong>${plan.brake.mode}</strong>: the cleanup begins once it is let go. ${plan.brake.message}<//>`}
    <div class="plan-columns">
      <section class="goes"><h3><${Icon} name="leaving" />Goes <span>${goes.length}</span></h3>${goes.length ? html`<ul>${goes.map(item)}</ul>` : html`<p class="faint">Nothing was found that would go.</p>`}</section>
      <section class="stays"><h3><${Icon} name="kept" />Stays <span>${stays.length}</span></h3>${stays.length ? html`<ul>${stays.map(item)}</ul>` : html`<p class="faint">Nothing is kept.</p>`}</section>
    </div>
    ${gone > 0 && html`<p class="faint">${counted(gone, "resource")} ${gone === 1 ? "is" : "are"} gone already.</p>`}
    ${(plan.problems || []).map((each) => html`<${Note} look="soon" icon="alert">${typeof each === "string" ? each : each.message || JSON.stringify(each)}<//>`)}
    ${(plan.not_looked_at || []).length > 0 && html`<${Note} look="soon" icon="late">Not looked at in time: ${plan.not_looked_at.join(", ")}<//>`}
    ${!brief && plan.digest && html`<p class="faint digest">Digest <code>${plan.digest}</code> stands for exactly this plan: <code>tracker end --plan</code> with it ends nothing if the plan has changed.</p>`}
  </div>`;
}

export function PlanTab({ of }) {
  if (isLive(of)) return html`<${LivePlan} of=${of} />`;
  return html`<h2 class="unseen">Plan</h2><p class="empty-tab">${isEnding(of) ? "It is ending already: there is nothing to plan. What is left of it is among its resources."
    : "It is over: there is nothing to plan. What proved it gone stands with its resources."}</p>`;
}

function LivePlan({ of }) {
  const found = useLoaded(() => api.plan(of.blueprint_id), 0, [of.blueprint_id]);
  const [busy, setBusy] = useState(false);
  const again = async () => {
    setBusy(true);
    await found.again();
    setBusy(false);
  };
  return html`<h2 class="unseen">Plan</h2><div class="tab-note with-button"><span>What a cleanup would delete now. Nothing is deleted by looking.</span>
      <${Button} kind="small" why=${busy || (!found.value && !found.error) ? "It is being looked at." : ""} onClick=${again}>Look again<//></div>
    ${found.error && html`<${Problem} error=${found.error} />`}
    ${found.value ? html`<${PlanView} plan=${found.value} />` : !found.error && html`<p class="loading">Looking at what is there; that takes up to 20 seconds…</p>`}`;
}
