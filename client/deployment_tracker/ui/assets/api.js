// Calls to the page's own server, which signs them. An error has the API's code.

export class ApiError extends Error {
  constructor(status, error) {
    super(error.message || "The call failed.");
    this.status = status;
    this.code = error.code || "failed";
    this.hint = error.hint || "";
    this.details = error;
  }

  // Whether nobody answered, so that nothing is known of what is there.
  get isAway() {
    return ["away", "unreachable", "credentials", "no_session"].includes(this.code);
  }
}

const PROOF = "tracker-proof";

async function ask(method, path, body) {
  const headers = { "X-Tracker-Proof": localStorage.getItem(PROOF) || "" };
  if (body) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  } catch {
    throw new ApiError(0, {
      code: "away",
      message: "`tracker ui` doesn't run any more.",
      hint: "Start it again, and use the link that it prints.",
    });
  }
  const found = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new ApiError(answer.status, found.error || {});
  return found;
}

// Gives the token of the link back for a cookie and a proof, and takes it out of the address.
export async function openSession() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!token) return;
  history.replaceState(null, "", location.pathname + location.search);
  const { proof } = await ask("POST", "/session", { token });
  localStorage.setItem(PROOF, proof);
}

const at = (key, ...more) => ["/api/deployments", encodeURIComponent(key), ...more].join("/");
const stray = (key, word) => `/api/strays/${encodeURIComponent(key)}/${word}`;

export const api = {
  stack: () => ask("GET", "/api/stack"),
  brake: () => ask("GET", "/api/brake"),
  page: (query) => ask("GET", `/api/deployments${String(query) && `?${query}`}`),
  get: (key) => ask("GET", at(key)),
  plan: (key) => ask("GET", at(key, "plan")),
  deliveries: (key) => ask("GET", at(key, "deliveries")),
  redeliver: (key, id) => ask("POST", at(key, "deliveries", encodeURIComponent(id), "redeliver")),
  extend: (key, more) => ask("POST", at(key, "extend"), more),
  end: (key, more) => ask("DELETE", at(key), more),
  hold: (key, more) => ask("POST", at(key, "hold"), more),
  unhold: (key) => ask("DELETE", at(key, "hold")),
  forget: (key, reason) => ask("POST", at(key, "forget"), { reason }),
  strays: () => ask("GET", "/api/strays"),
  adopt: (key, more) => ask("POST", stray(key, "adopt"), more),
  exempt: (key, more) => ask("POST", stray(key, "exempt"), more),
};
