// Migrations on a time line: their phases as they begin, their rounds, and for how
// long senders had to wait.

import { $, el, svg, put, sync, bytes, took, at, clock } from "./view.js";

const kept = 30;
const phases = ["snapshot", "transfer", "restore", "replay", "cutover"];
const moves = []; // the latest first
let serial = 0;

const open = (entity) => moves.find((m) => m.entity === entity && !m.ended);

export const isMoving = (entity) => !!open(entity);

function begin(move) {
  moves.unshift({ id: ++serial, phases: [], rounds: [], downtime: undefined, reason: "", ended: 0, ...move });
  moves.length = Math.min(moves.length, kept);
  return moves[0];
}

// past adds a migration that the node remembers.
export function past(m, self) {
  const source = m.role === "source";
  begin({
    entity: m.entity_id, name: m.name || m.origin, from: source ? self : m.peer, to: source ? m.peer : self, bytes: m.bytes, began: at(m.began),
    ended: m.ended ? at(m.ended) : 0, reason: m.reason || "", downtime: m.downtime_ms || undefined, roundCount: m.rounds, phase: m.phase,
  });
}

// happened takes in what a node says of a migration.
export function happened(h) {
  const when = at(h.time);
  let m = open(h.entity_id);
  if (h.what === "came") {
    if (!moves.some((o) => o.entity === h.entity_id && o.to === h.node_id && (!o.ended || when - o.ended < 5000))) {
      begin({ entity: h.entity_id, name: h.name || h.origin, from: h.peer, to: h.node_id, began: when, ended: when, phase: "complete" });
    }
    return;
  }
  if (!m) m = begin({ entity: h.entity_id, name: h.name || h.origin, from: h.node_id, to: h.peer, began: when });
  m.bytes = Math.max(m.bytes || 0, h.bytes || 0);
  m.phase = h.phase || m.phase;
  if (h.what === "migration-phase") {
    const last = m.phases[m.phases.length - 1];
    if (!last || last.phase !== h.phase) m.phases.push({ phase: h.phase, at: when });
  } else if (h.what === "migration-round") {
    m.rounds.push(h.round);
  } else {
    m.ended = when;
    m.reason = h.reason || "";
    if (!m.reason) m.downtime = h.downtime_ms;
  }
}

// stretches are the phases with their ends.
function stretches(m, now) {
  const end = m.ended || now;
  return m.phases.filter((p) => phases.includes(p.phase)).map((p) => {
    const next = m.phases[m.phases.indexOf(p) + 1];
    return { phase: p.phase, from: p.at, ms: Math.max(0, (next ? next.at : end) - p.at) };
  });
}

function make() {
  const bar = svg("svg", { class: "bar", viewBox: "0 0 1000 18", preserveAspectRatio: "none", "aria-hidden": "true" });
  return el("li", {}, el("div", { class: "line" }, el("strong"), el("span", { class: "route" }), el("span", { class: "outcome" }), el("span", { class: "quiet" })),
    bar, el("div", { class: "steps phases" }), el("div", { class: "steps rounds" }));
}

function draw(e, m, nodeName) {
  const now = Date.now(), [name, route, outcome, when] = e.firstElementChild.children;
  put(name, m.name);
  put(route, nodeName(m.from) + " → " + nodeName(m.to));
  if (!m.ended) put(outcome, m.phase || "begins", "outcome warn");
  else if (m.reason) put(outcome, "failed, the source still serves: " + m.reason, "outcome bad");
  else put(outcome, m.downtime === undefined ? "moved" : "moved, downtime " + took(m.downtime), "outcome good");
  put(when, clock(m.began) + (m.bytes ? ", " + bytes(m.bytes) : "") + (m.ended > m.began ? ", " + took(m.ended - m.began) + " in all" : ""));
  const parts = stretches(m, now), whole = Math.max(0.001, parts.reduce((sum, p) => sum + p.ms, 0));
  const [, bar, steps, rounds] = e.children;
  bar.toggleAttribute("hidden", parts.length === 0);
  let x = 0;
  bar.replaceChildren(...parts.map((p) => {
    const width = (p.ms / whole) * 1000, r = svg("rect", { x, y: 0, width, height: 18, class: "p-" + p.phase });
    r.append(svg("title"));
    r.firstChild.textContent = p.phase + " " + took(p.ms);
    x += width;
    return r;
  }));
  if (m.downtime !== undefined && whole > 0) { // the wait ends with the move
    const width = Math.min(1000, (m.downtime / whole) * 1000);
    bar.append(svg("rect", { x: 1000 - width, y: 14, width, height: 4, class: "tick" }));
  }
  put(steps, parts.map((p) => p.phase + " " + took(p.ms)).join(" · "));
  const told = m.rounds.map((r) => `round ${r.number} (${r.how}): ${r.records} records, ${r.blocks} blocks, ${bytes(r.bytes)} in ${took(r.ms)}`);
  put(rounds, told.length ? told.join(" · ") : m.roundCount ? m.roundCount + " rounds" : "");
}

export function show(nodeName) {
  $("moves-none").hidden = moves.length > 0;
  sync($("moves"), moves, (m) => m.id, make, (e, m) => draw(e, m, nodeName));
}

export const anyOpen = () => moves.some((m) => !m.ended);
