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

// "2 h 5 min": its two largest units, rounded to the nearest, as the command line says it (`length` of its times.py).
export function length(seconds) {
  const grain = seconds < 300 ? 1 : seconds < 86400 ? 60 : 3600;
  let rest = Math.max(0, Math.floor(seconds / grain + 0.5) * grain);
  const parts = [];
  for (const [unit, size] of UNITS) {
    const count = Math.floor(rest / size);
    if (count) parts.push(`${count} ${unit}`);
    rest -= count * size;
  }
  return parts.join(" ") || "0 s";
}

export const relative = (seconds, past = "ago") =>
  seconds >= 0 ? `in ${length(seconds)}` : `${length(-seconds)} ${past}`;

const absoluteFormat = new Intl.DateTimeFormat("en-GB", {
  weekday: "short", day: "numeric", month: "short", year: "numeric",
  hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short",
});
// To the second, rounded up: an end that is shown is never before the real one.
export const absolute = (time) => (time ? absoluteFormat.format(new Date(Math.ceil(new Date(time) / 1000) * 1000)) : "");

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
export const hourly = (of) => (of.cost_per_hour ? `${rate(of)} an hour` : "an unknown price");

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

// Its state in one word, the API's where it has one, with the look of it: bad, soon, moving, held, over, calm.
export function state(of, now) {
  const seconds = left(of.expires_at, now);
  if (isOver(of)) return { word: "Terminated", look: "over", icon: "over" };
  if (isEnding(of)) return { word: "Terminating", look: "moving", icon: "moving" };
  if (of.quarantined) return { word: "Quarantined", look: "bad", icon: "stop" };
  if (of.last_error) return { word: "Failing", look: "bad", icon: "alert" };
  if (of.hold) return { word: "Held", look: "held", icon: "hold" };
  if (seconds !== null && seconds < 0) return { word: "Overdue", look: "bad", icon: "late" };
  if (seconds !== null && seconds < SOON) return { word: "Expiring soon", look: "soon", icon: "late" };
  if (of.status === "Failed") return { word: "Failed", look: "soon", icon: "alert" };
  if (of.status === "Unknown") return { word: "Unknown", look: "soon", icon: "open" };
  return { word: "Active", look: "calm", icon: "active" };
}

export const GROUPS = ["Needs someone", "Held", "Terminating", "Running", "Terminated"];
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

// The command line says the same (`EVENTS` of its telling.py).
export const EVENTS = {
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
  if (event.type === "extended") told.from ||= "no end";
  // They differ by the seconds until the warning was written.
  if (told.before) delete told.left;
  return Object.entries(told)
    .filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false)
    .map(([name, value]) => [name.replaceAll("_", " "), detail(name, value, told)]);
}

function detail(name, value, told) {
  if (name === "before" && typeof value === "number") return `${length(value)} before its end`;
  if (name === "left" && typeof value === "number") return length(value);
  if (name === "cost" && value.currency) return `${money(value.so_far, value.currency)} so far`;
  if (name === "never_seen") return "by the tracker";
  if (name === "proof") return withoutId(value, told.id);
  if (name === "by" || name === "requested_by") return who(String(value));
  if (/^\d{4}-\d\d-\d\dT/.test(String(value))) return absolute(value);
  return typeof value === "object" ? summary(value) : String(value);
}

function summary(value) {
  if (Array.isArray(value)) return value.map((each) => (typeof each === "object" ? summary(each) : each)).join(", ");
  // Counts are said as people count: 2 gone, 1 kept.
  return Object.entries(value).map(([name, each]) => (typeof each === "number" ? `${each} ${name}` : `${name} ${typeof each === "object" && each ? summary(each) : each}`)).join(", ");
}

// How many resources are in each state: "2 gone, 1 kept".
export function counts(resources) {
  const found = {};
  for (const { state = "unseen" } of resources) found[state] = (found[state] || 0) + 1;
  return summary(found);
}

// What a provider said without the ids that it repeats, which stand beside it.
export function withoutId(text, ...ids) {
  return ids.filter(Boolean).reduce((rest, id) => rest.replaceAll(` ${id}:`, ":"), text);
}

// A place as pairs: only what is known of it, and nothing twice, nor what is said beside it.
export function placed(of, ...said) {
  const known = new Set(said);
  return Object.entries(of.place || {}).filter(([, value]) => value && !known.has(value) && known.add(value));
}

export const counted = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
