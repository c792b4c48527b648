// The page: it asks the node every other second what there is, and hears at once
// what happens on every node that the node may ask.

import { Problem, session, enter, get, list, lines } from "./api.js";
import { $, el, put, sync, row, bytes, count, perSecond, at, clock, took } from "./view.js";
import * as moves from "./moves.js";
import * as one from "./one.js";

const pollEvery = 2000, mostDaemons = 5000, mostShown = 200, keptHappenings = 200;
let nodes = [], kinds = [], daemons = [], more = false, self = "";
const rates = new Map(); // by daemon: events, when, and how many a second
const total = []; // events a second, the last two minutes

const nodeName = (id) => {
  const n = nodes.find((x) => x.node_id === id);
  return n && n.name ? n.name : id ? id.slice(0, 8) : "–";
};

// ---- what there is

async function look() {
  const asked = await get("nodes");
  const [each, k, d] = await Promise.all([Promise.all(asked.map((n) => get("nodes/" + n.node_id).catch(() => n))), list("kinds", 1000), list("daemons?all=true", mostDaemons)]);
  nodes = each;
  kinds = k.items;
  daemons = d.items;
  more = d.more;
  const me = nodes.find((n) => n.self);
  self = me ? me.node_id : "";
  measure();
  show();
  await one.refresh(nodeName);
}

function measure() {
  const now = performance.now();
  let sum = 0;
  for (const d of daemons) {
    const before = rates.get(d.entity_id);
    const rate = before && now > before.at ? Math.max(0, ((d.events_processed || 0) - before.events) * 1000 / (now - before.at)) : undefined;
    rates.set(d.entity_id, { events: d.events_processed || 0, at: now, rate });
    sum += rate || 0;
  }
  if (rates.size > 2 * daemons.length + 100) {
    const there = new Set(daemons.map((d) => d.entity_id));
    for (const id of rates.keys()) if (!there.has(id)) rates.delete(id);
  }
  total.push(sum);
  if (total.length > 60) total.shift();
}

const rateOf = (d) => (rates.get(d.entity_id) || {}).rate;
const sumOf = (all, f) => all.reduce((sum, d) => sum + (f(d) || 0), 0);

// ---- how it is shown

function show() {
  const me = nodes.find((n) => n.self);
  put($("self"), me ? `${me.name || me.node_id}, ${me.version || ""}` : "");
  put($("rate-now"), perSecond(total[total.length - 1]) + " events/s");
  const top = Math.max(1, ...total);
  $("spark").firstElementChild.setAttribute("points", total.map((v, i) => `${(120 - 2 * (total.length - 1 - i)).toFixed(1)},${(22 - (v / top) * 20).toFixed(1)}`).join(" "));
  showNodes();
  showKinds();
  showDaemons();
  moves.show(nodeName);
}

function showNodes() {
  put($("nodes-n"), nodes.length);
  sync($("nodes").tBodies[0], nodes, (n) => n.node_id, () => row(["", "mono", "mono", "", "n", "n", "n", "n", "n"]), (e, n) => {
    const c = n.capabilities, there = daemons.filter((d) => d.node_id === n.node_id), draining = c && c.draining;
    put(e.children[0], (n.name || "–") + (n.self ? " (this)" : ""));
    put(e.children[1], n.node_id);
    put(e.children[2], n.addr || "–");
    put(e.children[3], draining ? "draining" : n.connected ? "connected" : "not connected", draining ? "warn" : n.connected ? "good" : "bad");
    put(e.children[4], c ? count(c.daemons) : "–");
    put(e.children[5], perSecond(sumOf(there, rateOf)));
    put(e.children[6], bytes(sumOf(there, (d) => d.memory_bytes)));
    put(e.children[7], c && c.total_memory_bytes ? bytes(c.free_memory_bytes) + " of " + bytes(c.total_memory_bytes) : "–");
    put(e.children[8], c && c.load !== undefined ? c.load.toFixed(2) : "–");
  });
}

function showKinds() {
  put($("kinds-n"), kinds.length);
  sync($("kinds").tBodies[0], kinds, (k) => k.name, () => row(["", "mono", "n", "", "n", "n", "n"]), (e, k) => {
    const of = daemons.filter((d) => d.kind === k.name);
    [k.name, k.digest.slice(0, 12), bytes(k.size), k.state || "–", count(of.length), perSecond(sumOf(of, rateOf)), bytes(sumOf(of, (d) => d.memory_bytes))].forEach((v, i) => put(e.children[i], v));
  });
}

function showDaemons() {
  const words = $("filter").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const matching = daemons.filter((d) => {
    const text = [d.name, d.origin, d.entity_id, d.kind, nodeName(d.node_id), d.state].join(" ").toLowerCase();
    return words.every((w) => text.includes(w));
  });
  const shown = matching.slice(0, mostShown);
  put($("daemons-n"), (shown.length < daemons.length ? `${count(shown.length)} of ` : "") + count(daemons.length) + (more ? " and more" : ""));
  sync($("daemons").tBodies[0], shown, (d) => d.entity_id, (d) => {
    const r = row(["", "", "", "", "n", "n", "n", "n", "n", ""]);
    r.firstChild.append(el("button", { class: "link", type: "button", onclick: () => one.open(find(d.entity_id), nodeName).then(show) }));
    if (!session.readOnly) r.lastChild.append(el("button", { type: "button", onclick: () => askMove(find(d.entity_id)) }, "Move…"));
    return r;
  }, (e, d) => {
    const moving = moves.isMoving(d.entity_id), bad = ["failed", "diverged", "held", "waiting", "refused"].includes(d.state);
    e.className = (moving ? "moving " : "") + (one.chosen() === d.entity_id ? "chosen" : "");
    put(e.children[0].firstChild, d.name || d.origin);
    put(e.children[1], d.kind || "–");
    put(e.children[2], nodeName(d.node_id));
    put(e.children[3], moving ? "moving" : d.state, moving ? "warn" : bad ? "bad" : "");
    if (e.children[3].title !== (d.reason || "")) e.children[3].title = d.reason || "";
    [d.epoch, count(d.events_processed), perSecond(rateOf(d)), count(d.errors), bytes(d.memory_bytes)].forEach((v, i) => put(e.children[4 + i], v));
    const button = e.lastChild.firstChild;
    if (button) {
      button.disabled = moving || d.state === "moved";
      button.setAttribute("aria-label", "Move " + (d.name || d.origin));
    }
  });
}

const find = (entity) => daemons.find((d) => d.entity_id === entity);

// ---- moving a daemon

let asked = null;

function askMove(d) {
  if (!d) return;
  asked = d;
  put($("move-h"), "Move " + (d.name || d.origin));
  put($("move-said"), "", "");
  const to = nodes.filter((n) => n.node_id !== d.node_id);
  $("move-to").replaceChildren(...to.map((n) => el("option", { value: n.node_id }, (n.name || n.node_id) + (n.connected ? "" : " (not connected)"))));
  $("move-go").disabled = to.length === 0;
  if (to.length === 0) put($("move-said"), "There is no other node: join one with wasmhost node token, and serve --join.", "warn");
  $("move").showModal();
}

async function move(event) {
  if (!event.submitter || event.submitter.value !== "go") return;
  event.preventDefault();
  const d = asked, said = $("move-said");
  const to = $("move-to").value;
  $("move-go").disabled = true;
  put(said, "asking", "");
  try {
    let report = null;
    await lines(`daemons/${d.entity_id}/migrate`, (s) => {
      if (s.error) throw Object.assign(new Error(s.error.detail), { hint: s.error.hint });
      if (s.phase) put(said, s.phase, "warn");
      if (s.report) report = s.report;
    }, { method: "POST", body: JSON.stringify({ to, downtime_ms: Number($("move-downtime").value) || 50 }) });
    if (!report) throw new Error("the node stopped answering while the daemon moved");
    put(said, `moved to ${nodeName(report.to)}, downtime ${took(report.downtime_ms)}`, "good");
  } catch (e) {
    const r = e.status === 0 ? await receiptOf(d, to) : null;
    if (r) put(said, `moved to ${nodeName(to)}, downtime ${took(r.downtime_ms)}`, "good");
    else put(said, e.message + (e.hint ? ". " + e.hint : ""), "bad");
  }
  soon();
  $("move-go").disabled = false;
}

// receiptOf is the receipt of a move whose watching broke off: the nodes go on with it.
// null: the daemon is not there after some seconds.
async function receiptOf(d, to) {
  for (let left = 20; left > 0; left--) {
    try {
      const now = await get(`daemons/${d.entity_id}`);
      const r = (now.receipts || []).find((r) => r.epoch === now.epoch);
      if (now.node_id === to && r) return r;
    } catch { /* it is asked again */ }
    await new Promise((later) => setTimeout(later, 500));
  }
  return null;
}

// ---- what happens

function happened(h) {
  if (h.what === "came" || h.what.startsWith("migration-")) {
    moves.happened(h);
    moves.show(nodeName);
    showDaemons();
  }
  if (!h.what.startsWith("migration-") || h.what === "migration-ended") {
    const log = $("happened");
    log.prepend(el("li", {}, el("span", { class: "quiet" }, clock(at(h.time)) + " " + nodeName(h.node_id) + " "), happeningText(h)));
    while (log.children.length > keptHappenings) log.lastChild.remove();
    soon();
  }
}

function happeningText(h) {
  const who = h.name || (h.origin || "").slice(0, 8) || h.kind || "";
  const peer = h.peer ? nodeName(h.peer) : "";
  switch (h.what) {
    case "came": return `${who} came from ${peer}, epoch ${h.epoch}`;
    case "migration-ended": return h.reason ? `${who} did not move to ${peer}: ${h.reason}` : `${who} moved to ${peer}, downtime ${took(h.downtime_ms)}`;
    case "following": return "is followed";
    default: return [h.what, who, h.reason].filter(Boolean).join(" ");
  }
}

async function listen() {
  for (;;) {
    try {
      await lines("happenings?all=true", happened);
    } catch (e) {
      lost(e);
    }
    await new Promise((done) => setTimeout(done, 1000));
  }
}

// ---- when

let timer = 0, looking = false;

function soon() {
  clearTimeout(timer);
  timer = setTimeout(tick, 150);
}

async function tick() {
  clearTimeout(timer);
  if (looking) {
    timer = setTimeout(tick, 150);
    return;
  }
  looking = true;
  try {
    if (!document.hidden) await look();
    put($("status"), "live", "live");
    $("notice").hidden = true;
  } catch (e) {
    lost(e);
  }
  looking = false;
  timer = setTimeout(tick, pollEvery);
}

function lost(e) {
  if (!(e instanceof Problem)) console.error(e); // a fault of this page
  put($("status"), e.status ? "refused" : "no answer", "lost");
  if (e.status === 401) signIn(e);
  else if (e.status) tell(e.message + (e.hint ? ". " + e.hint : ""));
}

function tell(text) {
  put($("notice"), text);
  $("notice").hidden = false;
}

// ---- who

function signIn(e) {
  session.forget();
  $("main").hidden = true;
  const byToken = e.code !== "no-session" && e.code !== "link-used";
  $("login").hidden = !byToken;
  if (byToken && e.code === "no-token") $("notice").hidden = true;
  else tell(e.message + (e.hint ? ". " + e.hint : ""));
}

let listening = false;

async function start() {
  const code = /^#code=([\w-]+)$/.exec(location.hash);
  if (code) {
    history.replaceState(null, "", location.pathname); // it is good once, and nobody's to see
    try {
      await enter(code[1]);
    } catch (e) {
      put($("status"), "refused", "lost");
      return signIn(e);
    }
  }
  try {
    await get("node");
  } catch (e) {
    return lost(e);
  }
  $("login").hidden = true;
  $("main").hidden = false;
  await tick();
  for (const m of await get("migrations?all=true").catch(() => [])) moves.past(m, self);
  moves.show(nodeName);
  if (listening) return;
  listening = true;
  listen();
  setInterval(() => { if (moves.anyOpen()) moves.show(nodeName); }, 200);
}

$("login").addEventListener("submit", (e) => {
  e.preventDefault();
  session.keep($("token").value.trim(), false);
  $("token").value = "";
  $("notice").hidden = true;
  start();
});
$("move").addEventListener("submit", move);
$("filter").addEventListener("input", showDaemons);
$("one-close").addEventListener("click", () => { one.close(); showDaemons(); $("daemons").focus(); });
document.addEventListener("keydown", (e) => {
  if (e.key === "/" && !/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName) && !$("move").open) {
    e.preventDefault();
    $("filter").focus();
  }
});
document.addEventListener("visibilitychange", () => { if (!document.hidden && !$("main").hidden) soon(); });
window.addEventListener("hashchange", () => { if (location.hash.startsWith("#code=")) location.reload(); });
$("theme").value = localStorage.getItem("theme") || "";
const dress = () => { if ($("theme").value) document.documentElement.dataset.theme = $("theme").value; else delete document.documentElement.dataset.theme; };
$("theme").addEventListener("change", () => { localStorage.setItem("theme", $("theme").value); dress(); });
dress();
start();
