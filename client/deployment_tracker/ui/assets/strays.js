// Strays: what carries the mark and no record claims. A stack that doesn't look for them has no such list.

import { html, useState } from "./vendor/htm-preact.js";
import { api } from "./api.js";
import { Away } from "./list.js";
import { Button, Dialog, Field, Icon, Note, Problem, Time, useLoaded } from "./parts.js";
import { Choices, HOUR, Typed, soon, useDone } from "./dialogs.js";
import { NONE, placed, who } from "./words.js";

const SECONDS = 30;
const HIDDEN = [400, 403, 404, 405];
const LIVES = [[HOUR, "1 h"], [24 * HOUR, "1 day"], [7 * 24 * HOUR, "7 days"], [0, "no time: it goes at once"]];
const EXEMPTIONS = [[7 * 24 * HOUR, "7 days"], [30 * 24 * HOUR, "30 days"], [90 * 24 * HOUR, "90 days"]];

// `value` is null where the stack has no strays to show, or this role may not see them.
export function useStrays() {
  return useLoaded(async () => {
    try {
      return (await api.strays()).strays;
    } catch (error) {
      if (HIDDEN.includes(error.status)) return null;
      throw error;
    }
  }, SECONDS, []);
}

const nameOf = (stray) => stray.key || `stray:${stray.kind}:${stray.id}`;
const isExempt = (stray) => Boolean(stray.exempt && Date.parse(stray.exempt.until) > Date.now());

export function Strays({ found, open }) {
  if (!found.at) return found.error ? html`<${Away} error=${found.error} again=${found.again} />` : html`<p class="loading">Asking the stack…</p>`;
  if (!found.value) return html`<section class="empty"><h2>No strays to show</h2><p>This stack doesn't look for strays, or your role may not see them.</p></section>`;
  if (!found.value.length) return html`<section class="empty"><h2>No strays</h2><p>Nothing carries the mark that no record claims.</p></section>`;
  const items = [...found.value].sort((a, b) => Number(isExempt(a)) - Number(isExempt(b)));
  return html`${found.error && html`<${Problem} error=${found.error} />`}
    <p class="total"><span><strong>${items.length}</strong> carry the tracker's mark, and no record claims them.</span></p>
    <table class="list strays" role="table" aria-label="Strays">
      <thead role="rowgroup"><tr role="row">${["Id", "Type", "Place", "First seen", "Last seen", "State", ""].map((each) => html`<th role="columnheader" scope="col">${each || html`<span class="unseen">Actions</span>`}</th>`)}</tr></thead>
      <tbody role="rowgroup">${items.map((of) => html`<tr role="row" key=${nameOf(of)} class=${isExempt(of) ? "dim" : ""}>
        <td role="cell" class="name"><code>${of.id}</code><small class="because">${of.kind}</small></td>
        <td role="cell" data-label="Type">${of.deployment_type || NONE}</td>
        <td role="cell" data-label="Place" class="quiet">${placed(of, of.id).map(([, value]) => value).join(", ") || NONE}</td>
        <td role="cell" data-label="First seen"><${Time} at=${of.first_seen_at} /></td>
        <td role="cell" data-label="Last seen"><${Time} at=${of.last_seen_at} /></td>
        <td role="cell" data-label="State">${isExempt(of) ? html`<span class="state held"><${Icon} name="hold" />Left alone</span><small class="because">${of.exempt.reason} (${who(of.exempt.by)}), <${Time} at=${of.exempt.until} /></small>`
          : html`<span class="state bad"><${Icon} name="alert" />Unclaimed</span>`}</td>
        <td role="cell" class="row-actions"><${Button} kind="small" aria-label=${`Adopt ${of.id}`} onClick=${() => open("adopt", [of])}>Adopt<//> <${Button} kind="small" aria-label=${`Exempt ${of.id}`} onClick=${() => open("exempt", [of])}>Exempt<//></td>
      </tr>`)}</tbody></table>`;
}

export function Adopt({ items: [of], onClose, onDone }) {
  const [reason, setReason] = useState("");
  const [lives, setLives] = useState(HOUR);
  const [typed, setTyped] = useState("");
  const { busy, error, run } = useDone((found) => onDone(`${of.id} is registered as ${found.blueprint_id}.`));
  const why = busy ? "It is being done." : !reason.trim() ? "Say why." : typed !== of.id ? "Type the id first." : "";
  return html`<${Dialog} title=${`Adopt ${of.id}`} onClose=${onClose} busy=${busy} why=${why} actions=${html`
      <button type="button" class="button" data-safe disabled=${busy} onClick=${onClose}>Cancel</button>
      <${Button} kind="danger" why=${why} onClick=${() => run(() => api.adopt(nameOf(of), { reason: reason.trim(), ...(lives ? { ttl_seconds: lives } : {}) }))}>Adopt<//>`}>
    <p>It is registered, and <strong>deleted once its time is over</strong>, as any deployment.</p>
    <div class="plan-columns one"><section class="goes"><h3>Goes then <span>1</span></h3><ul><li><code>${of.id}</code> <span class="kind">${of.kind}</span></li></ul></section></div>
    <${Choices} label="It lives for" of=${LIVES} value=${lives} onChange=${setLives} />
    <${Field} label="Why it may go"><input required value=${reason} onInput=${(event) => setReason(event.target.value)} maxlength="512" /><//>
    <${Typed} name=${of.id} value=${typed} onInput=${setTyped} />
    ${error && html`<${Problem} error=${error} />`}
  <//>`;
}

export function Exempt({ items: [of], onClose, onDone }) {
  const [reason, setReason] = useState("");
  const [lasts, setLasts] = useState(EXEMPTIONS[0][0]);
  const { busy, error, run } = useDone(() => onDone(`${of.id} is left alone.`));
  const why = busy ? "It is being done." : reason.trim() ? "" : "Say why.";
  return html`<${Dialog} title=${`Exempt ${of.id}`} onClose=${onClose} busy=${busy} why=${why} actions=${html`
      <button type="button" class="button" data-safe disabled=${busy} onClick=${onClose}>Cancel</button>
      <${Button} kind="primary" why=${why} onClick=${() => run(() => api.exempt(nameOf(of), { reason: reason.trim(), until: soon(lasts) }))}>Leave it alone<//>`}>
    <${Note}>It stays as it is, and isn't told again until the exemption is over.<//>
    <${Field} label="Why"><input required value=${reason} onInput=${(event) => setReason(event.target.value)} maxlength="512" /><//>
    <${Choices} label="For" of=${EXEMPTIONS} value=${lasts} onChange=${setLasts} />
    ${error && html`<${Problem} error=${error} />`}
  <//>`;
}

export const strayCount = (found) => (found.value ? found.value.filter((of) => !isExempt(of)).length : null);
