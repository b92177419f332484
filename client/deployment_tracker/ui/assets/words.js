// How a deployment is put into words: its time, its money, what it needs, and its place in the list.

export const SOON = 3600;
const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
const LIVE = ["Active", "Failed", "Unknown"];
export const NONE = "–";

export const isLive = (of) => LIVE.includes(of.status);
export const isEnding = (of) => of.status === "Terminating";
export const isOver = (of) => of.status === "Terminated";

// A record and a line of the list, in one shape.
export function shape(of) {
  const cleanup = of.cleanup || of;
  return {
    ...of,
    // One that is over may still be there until the tracker's next look.
    hold: of.hold && !(Date.parse(of.hold.until) <= Date.now()) ? of.hold : null,
    ended_at: cleanup.ended_at || null,
    quarantined: Boolean(cleanup.quarantined),
    last_error: cleanup.last_error || null,
    failures: cleanup.failures || 0,
    next_attempt_at: cleanup.next_attempt_at || null,
  };
}

// Seconds until a time, below zero once it is over; null if there is none.
export const left = (time, now) => (time ? (Date.parse(time) - now) / 1000 : null);

// "2 h 5 min": the two largest units, rounded down; below five minutes to the second.
export function length(seconds) {
  let rest = Math.max(0, Math.floor(seconds));
  if (rest < 300) {
    const minutes = Math.floor(rest / 60);
    return minutes ? `${minutes} min ${String(rest % 60).padStart(2, "0")} s` : `${rest} s`;
  }
  const parts = [];
  for (const [unit, size] of UNITS) {
    const count = Math.floor(rest / size);
    if (count && unit !== "s") parts.push(`${count} ${unit}`);
    rest -= count * size;
    if (parts.length === 2 || (parts.length && !count)) break;
  }
  return parts.join(" ");
}

export const relative = (seconds, past = "ago") =>
  seconds >= 0 ? `in ${length(seconds)}` : `${length(-seconds)} ${past}`;

const absoluteFormat = new Intl.DateTimeFormat("en-GB", {
  weekday: "short", day: "numeric", month: "short", year: "numeric",
  hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short",
});
export const absolute = (time) => (time ? absoluteFormat.format(new Date(time)) : "");

export function money(amount, currency = "USD") {
  const digits = amount !== 0 && amount < 0.01 ? { maximumSignificantDigits: 2 } : { minimumFractionDigits: 2, maximumFractionDigits: 2 };
  try {
    return new Intl.NumberFormat("en", { style: "currency", currency, currencyDisplay: "narrowSymbol", ...digits }).format(amount);
  } catch {
    return `${amount.toFixed(2)} ${currency}`;
  }
}
// What isn't known is never a number.
export const rate = (of) => (of.cost_per_hour ? money(of.cost_per_hour.amount, of.cost_per_hour.currency) : NONE);
export const hourly = (of) => (of.cost_per_hour ? `${rate(of)} an hour` : "unknown cost");

// By currency: {"USD": 12.5}.
export function sums(items, amountOf) {
  const found = {};
  for (const each of items) {
    const [amount, currency] = amountOf(each) || [];
    if (currency) found[currency] = (found[currency] || 0) + amount;
  }
  return Object.entries(found).map(([currency, amount]) => money(amount, currency));
}
export const rates = (items) => sums(items, (each) => each.cost_per_hour && [each.cost_per_hour.amount, each.cost_per_hour.currency]);

// The platform of each type, which the stack's catalogue knows.
const platforms = {};
export const learn = (found) => Object.assign(platforms, found);

export function place(of) {
  if (of.region) return of.region;
  const provider = of.provider && typeof of.provider === "object" ? Object.keys(of.provider)[0] : of.provider;
  return provider || platforms[of.deployment_type] || NONE;
}

export const who = (arn) => (arn || "").split(":").pop().replace(/^assumed-role\//, "") || NONE;

// Its state in one word, with the look of it: bad, soon, moving, held, over, calm.
export function state(of, now) {
  const seconds = left(of.expires_at, now);
  if (isOver(of)) return { word: "Over", look: "over", icon: "over" };
  if (isEnding(of)) return { word: "Ending", look: "moving", icon: "moving" };
  if (of.quarantined) return { word: "Quarantined", look: "bad", icon: "stop" };
  if (of.last_error) return { word: "Cleanup failing", look: "bad", icon: "alert" };
  if (of.hold) return { word: "Held", look: "held", icon: "hold" };
  if (seconds !== null && seconds < 0) return { word: "Overdue", look: "bad", icon: "late" };
  if (seconds !== null && seconds < SOON) return { word: "Expiring soon", look: "soon", icon: "late" };
  if (of.status === "Failed") return { word: "Failed start", look: "soon", icon: "alert" };
  if (of.status === "Unknown") return { word: of.incomplete ? "Incomplete" : "Unknown", look: "soon", icon: "open" };
  return { word: "Active", look: "calm", icon: "active" };
}

export const GROUPS = ["Needs someone", "Held", "Ending", "Running", "Over"];
export function group(of, now) {
  const seconds = left(of.expires_at, now);
  if (isOver(of)) return 4;
  if (isEnding(of)) return 2;
  if (of.quarantined || of.last_error) return 0;
  if (of.hold) return 1;
  return seconds !== null && seconds < 0 ? 0 : 3;
}

export function sorted(items, now) {
  const keyed = items.map((of) => [group(of, now), of.quarantined ? 0 : 1, Date.parse(of.expires_at) || Infinity, of.blueprint_id, of]);
  const compare = (a, b) => a[0] - b[0] || a[1] - b[1] || (a[2] === b[2] ? 0 : a[2] - b[2]) || (a[3] < b[3] ? -1 : 1);
  return keyed.sort(compare).map((each) => each[4]);
}

// Why it can't be extended, or "".
export function whyNotExtend(of) {
  if (isEnding(of)) return "It is ending.";
  if (isOver(of)) return "It is over.";
  if (of.last_error || of.quarantined) return "Its cleanup has begun and failed: retry it, or forget the record.";
  return "";
}

export const FACETS = [
  { name: "overdue", label: "Overdue", look: "bad", has: (of, now) => !isOver(of) && of.expires_at && left(of.expires_at, now) < 0 },
  { name: "quarantined", label: "Quarantined", look: "bad", has: (of) => of.quarantined },
  { name: "failing", label: "Failing", look: "bad", has: (of) => !isOver(of) && Boolean(of.last_error) },
  { name: "held", label: "Held", look: "held", has: (of) => Boolean(of.hold) && !isOver(of) },
  { name: "soon", label: "Expiring soon", look: "soon", has: (of, now) => !isOver(of) && of.expires_at && left(of.expires_at, now) >= 0 && left(of.expires_at, now) < SOON },
  { name: "without_ttl", label: "No end", look: "soon", has: (of) => isLive(of) && !of.expires_at },
];

export function matches(of, filters, now) {
  const words = (filters.get("q") || "").toLowerCase().split(/\s+/).filter(Boolean);
  const labels = Object.entries(of.labels || {}).map(([key, value]) => `${key}=${value}`);
  const text = [of.blueprint_id, of.id, of.deployment_type, place(of), of.owner, ...labels, of.status, of.registered_by].join(" ").toLowerCase();
  const [key, value] = (filters.get("label") || "").split(/=(.*)/s);
  return (
    words.every((word) => text.includes(word)) &&
    FACETS.every((facet) => !filters.get(facet.name) || facet.has(of, now)) &&
    (!filters.get("type") || of.deployment_type === filters.get("type")) &&
    (!filters.get("owner") || (of.owner || "") === filters.get("owner")) &&
    (!key || (key in (of.labels || {}) && (value === undefined || of.labels[key] === value)))
  );
}

const EVENTS = {
  registered: "Registered", amended: "Amended", moved: "Moved to another key", planned: "Plan drawn, nothing deleted",
  terminating: "Cleanup began", resource_gone: "Proven gone", cleanup_succeeded: "Everything proven gone",
  cleanup_failed: "Cleanup failed", cleanup_paused: "Cleanup paused by the brake", quarantined: "Given up until someone looks",
  forgotten: "Forgotten, nothing deleted", resurrected: "Back after it was gone", expiring: "Warned: its time is nearly over",
  extended: "Extended", held: "Held", unheld: "No longer held",
};
const LOOKS = {
  cleanup_failed: "bad", quarantined: "bad", resurrected: "bad", expiring: "soon", cleanup_paused: "soon", held: "held",
  terminating: "moving", cleanup_succeeded: "good", resource_gone: "good",
};
export const eventWord = (type) => EVENTS[type] || type;
export const eventLook = (type) => LOOKS[type] || "calm";

// What else an event tells, as pairs of a name and a text.
export function eventDetails(event) {
  const told = { ...event.detail };
  const found = [];
  for (const [name, value] of Object.entries(told)) {
    if (value === null || value === "" || value === undefined) continue;
    const text =
      name === "before" && event.type === "expiring" ? `${length(value)} before its end`
      : /^\d{4}-\d\d-\d\dT/.test(String(value)) ? absolute(value)
      : name === "by" || name === "requested_by" ? who(String(value))
      : typeof value === "object" ? summary(value)
      : String(value);
    found.push([name.replaceAll("_", " "), text]);
  }
  return found;
}

function summary(value) {
  if (Array.isArray(value)) return value.map((each) => (typeof each === "object" ? summary(each) : each)).join(", ");
  return Object.entries(value).map(([name, each]) => `${name} ${typeof each === "object" && each ? summary(each) : each}`).join(", ");
}

export const counted = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
