// Requests to the API, as whoever opened the page. The key of the session, or the
// API token, stays in this tab.

export class Problem extends Error {
  constructor(status, p) {
    super(p.detail || p.title || "the node answered " + status);
    this.status = status;
    this.code = p.code || "";
    this.hint = p.hint || "";
  }
}

export const session = {
  get key() { return sessionStorage.getItem("key") || ""; },
  get readOnly() { return sessionStorage.getItem("read-only") === "true"; },
  keep(key, readOnly) {
    sessionStorage.setItem("key", key);
    sessionStorage.setItem("read-only", String(!!readOnly));
  },
  forget() { sessionStorage.clear(); },
};

// broken is the error of a connection that broke.
const broken = (e) => (e.name === "AbortError" ? e : new Problem(0, { detail: "no answer: " + e.message }));

async function ask(path, options = {}) {
  const headers = { Accept: options.accept || "application/json" };
  if (session.key) headers.Authorization = "Bearer " + session.key;
  if (options.body && path.startsWith("/v1/")) headers["Content-Type"] = "application/json";
  const r = await fetch(path, {
    method: options.method || "GET", headers, body: options.body, signal: options.signal,
    credentials: "omit", cache: "no-store", redirect: "error",
  }).catch((e) => { throw broken(e); });
  if (r.ok) return r;
  let said = {};
  try { said = await r.json(); } catch { /* an answer that is no problem has its status alone */ }
  throw new Problem(r.status, said);
}

// enter exchanges the code of a link for a session.
export async function enter(code) {
  const r = await ask("/session", { method: "POST", body: code });
  const s = await r.json();
  session.keep(s.key, s.read_only);
}

export async function get(path) {
  return (await ask("/v1/" + path)).json();
}

// list reads a list page by page, up to so many entries.
export async function list(path, most) {
  const out = [];
  let next = "/v1/" + path + (path.includes("?") ? "&" : "?") + "limit=1000";
  while (next && out.length < most) {
    const r = await ask(next);
    out.push(...await r.json());
    const link = /^<([^>]*)>; rel="next"/.exec(r.headers.get("Link") || "");
    next = link ? link[1] : "";
  }
  return { items: out, more: next !== "" };
}

// lines calls fn with each value of a streamed answer until it ends.
export async function lines(path, fn, options = {}) {
  const r = await ask("/v1/" + path, { accept: "application/jsonl", ...options });
  const reader = r.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read().catch((e) => { throw broken(e); });
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const p of parts) if (p) fn(JSON.parse(p));
  }
}
