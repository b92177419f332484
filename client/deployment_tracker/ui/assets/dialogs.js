// What is asked before anything is changed. The dialogs say what goes, what stays and what it costs; the safe button has the focus.

import { html, useEffect, useState } from "./vendor/htm-preact.js";
import { api } from "./api.js";
import { Button, Dialog, Field, Note, Problem } from "./parts.js";
import { PlanView } from "./tabs.js";
import { absolute, hourly, isOver, left, length, place, relative, who } from "./words.js";

export const HOUR = 3600;
export const EXTENSIONS = [[HOUR, "1 h"], [4 * HOUR, "4 h"], [24 * HOUR, "1 day"], [7 * 24 * HOUR, "7 days"]];
const HOLDS = [[24 * HOUR, "1 day"], [7 * 24 * HOUR, "7 days"], [30 * 24 * HOUR - 60, "30 days"]];

export const soon = (seconds) => new Date(Date.now() + seconds * 1000).toISOString();

// The value of an input of type datetime-local, in the zone of the browser.
function localValue(time) {
  const moment = new Date(time);
  return new Date(moment - moment.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
}

export function Choices({ label, of, value, onChange }) {
  return html`<fieldset class="choices"><legend>${label}</legend>${of.map(([each, text]) => html`
    <label><input type="radio" name="choice" checked=${value === each} onChange=${() => onChange(each)} /><span>${text}</span></label>`)}</fieldset>`;
}

// Makes a change once: says that it is being made, and what went wrong.
export function useDone(onDone) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const run = async (change) => {
    setBusy(true);
    setError(null);
    try {
      onDone(await change());
    } catch (caught) {
      setError(caught);
      setBusy(false);
    }
  };
  return { busy, error, run };
}

const Cancel = ({ onClose, busy, children }) => html`<button type="button" class="button" data-safe disabled=${busy} onClick=${onClose}>${children || "Cancel"}</button>`;

export function Extend({ items: [of], onClose, onDone }) {
  const [by, setBy] = useState(HOUR);
  const [until, setUntil] = useState("");
  const { busy, error, run } = useDone((found) => onDone(`${of.blueprint_id} ends ${absolute(found.extended?.to || found.expires_at)} instead of ${absolute(found.extended?.from) || "never"}.`));
  // One that has no end, or is late, is given time from now on.
  const isLate = !of.expires_at || left(of.expires_at, Date.now()) < 0;
  const from = isLate ? Date.now() : Date.parse(of.expires_at);
  const to = until ? Date.parse(until) : from + by * 1000;
  const why = !Number.isFinite(to) ? "Say until when." : to <= Date.now() ? "That is in the past." : "";
  const ask = until || isLate ? { until: new Date(to).toISOString() } : { by };
  return html`<${Dialog} title=${`Extend ${of.blueprint_id}`} onClose=${onClose} busy=${busy} why=${busy ? "It is being done." : why} actions=${html`
      <${Cancel} onClose=${onClose} busy=${busy} />
      <${Button} kind="primary" why=${busy ? "It is being done." : why} onClick=${() => run(() => api.extend(of.blueprint_id, ask))}>Extend<//>`}>
    <${Choices} label=${isLate ? "From now on" : "Later than its end"} of=${EXTENSIONS} value=${until ? null : by} onChange=${(value) => { setBy(value); setUntil(""); }} />
    <${Field} label="Or until" hint=${`In ${Intl.DateTimeFormat().resolvedOptions().timeZone}`}><input type="datetime-local" min=${localValue(Date.now())} value=${until} onInput=${(event) => setUntil(event.target.value)} /><//>
    <dl class="change"><div><dt>Old end</dt><dd>${of.expires_at ? absolute(of.expires_at) : "none"}</dd></div>
      <div><dt>New end</dt><dd>${Number.isFinite(to) ? html`<strong>${absolute(to)}</strong> <span class="faint">${relative((to - Date.now()) / 1000)}</span>` : "–"}</dd></div>
      <div><dt>Price</dt><dd>${hourly(of)}</dd></div></dl>
    ${why && until && html`<p class="bad" role="alert">${why}</p>`}
    ${error && html`<${Problem} error=${error} />`}
  <//>`;
}

// End, and retry, which is the same call of what failed.
export function End({ items: [of], isRetry, onClose, onDone }) {
  const key = of.blueprint_id;
  const [plan, setPlan] = useState(null);
  const [planError, setPlanError] = useState(null);
  const [reason, setReason] = useState("");
  const [over, setOver] = useState("");
  const [typed, setTyped] = useState("");
  const [hold, setHold] = useState(of.hold);
  const { busy, error, run } = useDone((found) => onDone(
    isOver(found) ? `${key} is over: everything is proven gone.`
      : found.brake && found.brake.mode !== "enforce" ? `${key} begins to end once the brake is let go.`
      : `${key} is ending.`));
  const look = async () => {
    setPlan(null);
    setPlanError(null);
    try {
      setPlan(await api.plan(key));
    } catch (caught) {
      setPlanError(caught);
    }
  };
  useEffect(() => { look(); }, []);
  useEffect(() => {
    if (error?.code === "plan_changed") look();
    if (error?.code === "held") setHold(error.details.hold || {});
  }, [error]);
  const why = busy ? "It is being done."
    : !plan && !planError ? "What goes is being looked at."
    : of.quarantined && typed !== key ? "Type the name first."
    : hold && !over.trim() ? "Say why it ends though it is held." : "";
  const ask = () => api.end(key, {
    reason: reason.trim() || (isRetry ? "retry" : ""), ...(hold ? { over_hold: over.trim() } : {}), ...(plan?.digest ? { plan: plan.digest } : {}),
  });
  const verb = isRetry ? "Retry the cleanup" : "End";
  return html`<${Dialog} title=${isRetry ? `Retry the cleanup of ${key}` : `End ${key}`} onClose=${onClose} busy=${busy} wide why=${why} actions=${html`
      <${Cancel} onClose=${onClose} busy=${busy}>Keep it<//>
      <${Button} kind="danger" why=${why} onClick=${() => run(ask)}>${verb}<//>`}>
    <p>${of.deployment_type} (${place(of)}), at <strong>${hourly(of)}</strong>. What goes can't be brought back.</p>
    ${plan ? html`<${PlanView} plan=${plan} brief />` : planError
      ? html`<${Problem} error=${planError} /><${Note} look="soon" icon="alert">What goes couldn't be looked at. The cleanup looks for itself, and takes what belongs to the record.<//>`
      : html`<p class="loading" role="status">Looking at what is there; that takes up to 20 seconds…</p>`}
    ${hold && html`<${Note} look="held" icon="hold"><strong>Held</strong> by ${who(hold.by)}: ${hold.reason}<//>
      <${Field} label="Why it ends though it is held"><input required value=${over} onInput=${(event) => setOver(event.target.value)} maxlength="512" /><//>`}
    <${Field} label="Reason" hint="For the record; may be empty."><input value=${reason} onInput=${(event) => setReason(event.target.value)} maxlength="512" /><//>
    ${of.quarantined && html`<${Typed} name=${key} value=${typed} onInput=${setTyped} />`}
    ${error && html`<${Problem} error=${error} />`}
    ${error?.code === "plan_changed" && html`<${Note} look="soon" icon="alert">The plan above was drawn again. Look at it before you go on.
      ${(error.details.changed || []).length > 0 && html`<ul>${error.details.changed.map((each) => html`<li>${each}</li>`)}</ul>`}<//>`}
  <//>`;
}

export function Typed({ name, value, onInput }) {
  return html`<label class="field"><span>Type <code>${name}</code> to go on</span>
    <input value=${value} onInput=${(event) => onInput(event.target.value)} autocomplete="off" autocapitalize="off" spellcheck=${false} /></label>`;
}

export function Hold({ items: [of], onClose, onDone }) {
  const [reason, setReason] = useState("");
  const [lasts, setLasts] = useState(HOLDS[0][0]);
  const { busy, error, run } = useDone((found) => onDone(`${of.blueprint_id} is held until ${absolute(found.hold?.until)}.`));
  const why = busy ? "It is being done." : reason.trim() ? "" : "Say why.";
  return html`<${Dialog} title=${`Hold ${of.blueprint_id}`} onClose=${onClose} busy=${busy} why=${why} actions=${html`
      <${Cancel} onClose=${onClose} busy=${busy} />
      <${Button} kind="primary" why=${why} onClick=${() => run(() => api.hold(of.blueprint_id, { reason: reason.trim(), until: soon(lasts) }))}>Hold<//>`}>
    <p>Neither time nor a call ends it until the hold is over. It goes on costing, at <strong>${hourly(of)}</strong>.</p>
    <${Field} label="Why"><input required value=${reason} onInput=${(event) => setReason(event.target.value)} maxlength="512" /><//>
    <${Choices} label="For" of=${HOLDS} value=${lasts} onChange=${setLasts} />
    <dl class="change"><div><dt>Held until</dt><dd><strong>${absolute(soon(lasts))}</strong></dd></div></dl>
    ${error && html`<${Problem} error=${error} />`}
  <//>`;
}

export function Unhold({ items: [of], onClose, onDone }) {
  const { busy, error, run } = useDone(() => onDone(`${of.blueprint_id} isn't held any more.`));
  const late = of.expires_at && left(of.expires_at, Date.now()) < 0;
  return html`<${Dialog} title=${`Release the hold of ${of.blueprint_id}`} onClose=${onClose} busy=${busy} actions=${html`
      <${Cancel} onClose=${onClose} busy=${busy}>Keep the hold<//>
      <${Button} kind=${late ? "danger" : "primary"} why=${busy ? "It is being done." : ""} onClick=${() => run(() => api.unhold(of.blueprint_id))}>Release<//>`}>
    <p>Held by ${who(of.hold?.by)}: ${of.hold?.reason}</p>
    ${late ? html`<${Note} look="bad" icon="late">Its time was over ${length(-left(of.expires_at, Date.now()))} ago: its cleanup begins at once.<//>`
      : html`<p>It ends ${of.expires_at ? absolute(of.expires_at) : "when someone ends it"}.</p>`}
    ${error && html`<${Problem} error=${error} />`}
  <//>`;
}

export function Forget({ items: [of], onClose, onDone }) {
  const [reason, setReason] = useState("");
  const [typed, setTyped] = useState("");
  const { busy, error, run } = useDone(() => onDone(`${of.blueprint_id} is forgotten. What still runs of it, runs on.`));
  const key = of.blueprint_id;
  const why = busy ? "It is being done." : of.hold ? "It is held: release the hold first." : !reason.trim() ? "Say why." : typed !== key ? "Type the name first." : "";
  const known = (of.resources || []).filter((each) => each.state !== "gone");
  const ids = known.length ? known.map((each) => [each.kind, each.id]) : Object.entries(of.resource_ids || {}).flatMap(([name, each]) => [each].flat().map((id) => [name, id]));
  return html`<${Dialog} title=${`Forget ${key}`} onClose=${onClose} busy=${busy} why=${why} actions=${html`
      <${Cancel} onClose=${onClose} busy=${busy}>Keep it<//>
      <${Button} kind="danger" why=${why} onClick=${() => run(() => api.forget(key, reason.trim()))}>Forget<//>`}>
    <p><strong>Nothing is deleted.</strong> The record ends, and nobody looks after these any more; if they run, they go on costing, at <strong>${hourly(of)}</strong>.</p>
    <div class="plan-columns one"><section class="stays"><h3>Stays, and is forgotten <span>${ids.length}</span></h3>
      ${ids.length ? html`<ul>${ids.map(([kind, id]) => html`<li><code>${id}</code> <span class="kind">${kind}</span></li>`)}</ul>` : html`<p class="faint">The record names nothing.</p>`}</section></div>
    <${Field} label="Why no cleanup is needed"><input required value=${reason} onInput=${(event) => setReason(event.target.value)} maxlength="512" /><//>
    <${Typed} name=${key} value=${typed} onInput=${setTyped} />
    ${error && html`<${Problem} error=${error} />`}
  <//>`;
}

export function Help({ onClose }) {
  const keys = [["/", "Filter"], ["j  k", "Next, previous deployment"], ["Enter", "Open it"], ["x", "Select it"], ["e", "Extend it"], ["?", "This help"], ["Esc", "Back, or close"]];
  return html`<${Dialog} title="Keys" onClose=${onClose} actions=${html`<button type="button" class="button" data-safe onClick=${onClose}>Close</button>`}>
    <dl class="keys">${keys.map(([key, text]) => html`<div><dt>${key.split("  ").map((each) => html`<kbd>${each}</kbd>`)}</dt><dd>${text}</dd></div>`)}</dl>
  <//>`;
}
