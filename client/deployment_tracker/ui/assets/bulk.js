// Changes of many at once: a review lists each of them, and what became of it.

import { html, useEffect, useRef, useState } from "./vendor/htm-preact.js";
import { api } from "./api.js";
import { Button, Countdown, Dialog, Field, Icon, Problem } from "./parts.js";
import { Choices, EXTENSIONS, HOUR, Typed, soon } from "./dialogs.js";
import { counted, hourly, isLive, isOver, left, rates, whyNotExtend } from "./words.js";

// So many plans are drawn at a time.
const AT_ONCE = 3;

function why(word, of) {
  if (word === "extend") return whyNotExtend(of);
  if (!isLive(of)) return "It is ending.";
  return of.hold ? "It is held: end it by itself." : "";
}

// Draws the plan of each, a few at a time.
function usePlans(keys) {
  const [plans, setPlans] = useState({});
  const isGone = useRef(false);
  useEffect(() => {
    const queue = [...keys];
    const work = async () => {
      for (let key = queue.shift(); key !== undefined && !isGone.current; key = queue.shift()) {
        const plan = await api.plan(key).catch((error) => ({ error }));
        setPlans((before) => ({ ...before, [key]: plan }));
      }
    };
    for (let each = 0; each < AT_ONCE; each += 1) work();
    return () => { isGone.current = true; };
  }, []);
  return plans;
}

export function Bulk({ word, items, onClose, onDone }) {
  const isEnd = word === "end";
  const able = items.filter((of) => !why(word, of));
  const plans = usePlans(isEnd ? able.map((of) => of.blueprint_id) : []);
  const [by, setBy] = useState(HOUR);
  const [reason, setReason] = useState("");
  const [typed, setTyped] = useState("");
  const [results, setResults] = useState({});
  const [stage, setStage] = useState("asked");
  const phrase = `${word} ${able.length}`;
  const drawn = able.filter((of) => plans[of.blueprint_id]).length;
  const not = !able.length ? "None of them can be." : isEnd && drawn < able.length ? "What goes is being looked at." : isEnd && typed !== phrase ? `Type ${phrase} first.` : "";
  const run = async () => {
    setStage("running");
    let done = 0;
    for (const of of able) {
      const key = of.blueprint_id;
      let result;
      try {
        if (isEnd) {
          const plan = plans[key]?.digest;
          const found = await api.end(key, { reason, ...(plan ? { plan } : {}) });
          result = { text: isOver(found) ? "over" : found.brake && found.brake.mode !== "enforce" ? "begins once the brake is let go" : "ending" };
        } else {
          const isLate = !of.expires_at || left(of.expires_at, Date.now()) < 0;
          await api.extend(key, isLate ? { until: soon(by) } : { by });
          result = { text: "extended" };
        }
        done += 1;
      } catch (error) {
        result = { error };
      }
      setResults((before) => ({ ...before, [key]: result }));
    }
    setStage("over");
    onDone(`${done} of ${able.length} ${isEnd ? "are ending" : "were extended"}${done < able.length ? "; the others say why not" : ""}.`, done === able.length);
  };
  const sums = rates(able);
  const isBusy = stage === "running";
  return html`<${Dialog} title=${`${isEnd ? "End" : "Extend"} ${counted(able.length, "deployment")}`} onClose=${onClose} busy=${isBusy} wide why=${stage === "over" ? "" : isBusy ? "It is being done." : not} actions=${html`
      <button type="button" class="button" data-safe disabled=${isBusy} onClick=${onClose}>${stage === "over" ? "Close" : isEnd ? "Keep them" : "Cancel"}</button>
      ${stage !== "over" && html`<${Button} kind=${isEnd ? "danger" : "primary"} why=${isBusy ? "It is being done." : not} onClick=${run}>${isEnd ? "End" : "Extend"} ${able.length}<//>`}`}>
    ${isEnd && html`<p>${sums.length ? html`Together <strong>${sums.join(" + ")} an hour</strong>. ` : ""}What goes can't be brought back.</p>`}
    ${!isEnd && html`<${Choices} label="Each ends later by" of=${EXTENSIONS} value=${by} onChange=${setBy} />`}
    <ul class="review">${items.map((of) => html`<${Line} key=${of.blueprint_id} of=${of} why=${why(word, of)} plan=${plans[of.blueprint_id]} isEnd=${isEnd} result=${results[of.blueprint_id]} />`)}</ul>
    ${isEnd && stage !== "over" && html`<${Field} label="Reason" hint="For the records; may be empty."><input value=${reason} onInput=${(event) => setReason(event.target.value)} maxlength="512" /><//>
      ${able.length > 0 && html`<${Typed} name=${phrase} value=${typed} onInput=${setTyped} />`}`}
  <//>`;
}

function Line({ of, why: not, plan, isEnd, result }) {
  const of_ = (state) => (plan?.resources || []).filter((each) => (state === "kept" ? each.state === "kept" : !["kept", "gone"].includes(each.state || "unseen")));
  const goes = of_("goes");
  const stays = of_("kept");
  return html`<li class=${not ? "skipped" : ""}>
    <div class="review-line"><strong>${of.blueprint_id}</strong><span class="quiet">${of.deployment_type}</span><span>${hourly(of)}</span><${Countdown} of=${of} />
      ${result && !result.error && html`<span class="state good"><${Icon} name="gone" />${result.text}</span>`}
      ${not && html`<span class="state held"><${Icon} name="hold" />left out: ${not}</span>`}</div>
    ${isEnd && !not && (!plan ? html`<p class="faint">Looking at what is there…</p>`
      : plan.error ? html`<p class="soon">What goes couldn't be looked at: ${plan.error.message}</p>`
      : html`<p class="review-plan"><b>goes</b> ${goes.length ? goes.map((each) => html`<code>${each.id}</code> `) : "nothing"} <b>stays</b> ${stays.length ? stays.map((each) => html`<code>${each.id}</code> `) : "nothing"}</p>
        ${plan.refusal && html`<p class="bad">Nothing would be deleted: ${plan.refusal.message}</p>`}`)}
    ${result?.error && html`<${Problem} error=${result.error} />`}
  </li>`;
}
