// One daemon: its facts, chain, log and receipts.

import { get, lines } from "./api.js";
import { $, el, put, sync, row, bytes, count, took, clock, at } from "./view.js";

const keptOutputs = 50, keptLines = 500;
let stop = null; // ends what follows the daemon that is shown
let shown = "";

export const chosen = () => shown;

export function close() {
  if (stop) stop.abort();
  stop = null;
  shown = "";
  $("one").hidden = true;
}

// open shows the daemon, and follows it wherever it goes until it is closed.
export async function open(d, nodeName) {
  close();
  shown = d.entity_id;
  stop = new AbortController();
  const signal = stop.signal;
  $("one").hidden = false;
  $("chain").tBodies[0].replaceChildren();
  $("log").replaceChildren();
  put($("one-h"), "Daemon " + (d.name || d.origin));
  facts(d, nodeName);
  $("one-h").focus();
  $("one").scrollIntoView({ block: "nearest" });
  again(signal, () => outputs(d.entity_id, signal));
  again(signal, () => log(d.entity_id, signal));
  await refresh(nodeName);
}

// again calls what follows a daemon once more whenever its stream ends: the
// daemon may have moved.
async function again(signal, follow) {
  while (!signal.aborted) {
    try {
      await follow();
    } catch (e) {
      if (e.status === 404) return;
    }
    await new Promise((done) => setTimeout(done, 500));
  }
}

let last = -1;

async function outputs(id, signal) {
  const body = $("chain").tBodies[0];
  if (!body.firstChild) last = Math.max(0, (await get("daemons/" + id)).sequence - 20);
  await lines(`daemons/${id}/tail?after=${last}`, (o) => {
    if (signal.aborted) return;
    last = o.sequence;
    const r = row(["n", "n", "mono wide"]);
    put(r.children[0], o.epoch);
    put(r.children[1], o.sequence);
    put(r.children[2], o.text !== undefined ? o.text.slice(0, 500) : "base64 " + o.payload.slice(0, 200));
    body.prepend(r);
    while (body.children.length > keptOutputs) body.lastChild.remove();
  }, { signal });
}

async function log(id, signal) {
  const pre = $("log");
  pre.replaceChildren();
  await lines(`daemons/${id}/logs?follow=true`, (l) => {
    if (signal.aborted) return;
    const end = pre.scrollHeight - pre.scrollTop - pre.clientHeight < 20;
    pre.append(el("span", { class: l.level === "error" ? "bad" : l.level === "warn" ? "warn" : "" }, `${clock(at(l.time))} ${l.level} ${l.text}\n`));
    while (pre.children.length > keptLines) pre.firstChild.remove();
    if (end) pre.scrollTop = pre.scrollHeight;
  }, { signal });
}

// refresh asks for the daemon that is shown.
export async function refresh(nodeName) {
  if (!shown) return;
  const id = shown;
  let d;
  try {
    d = await get("daemons/" + id);
  } catch (e) {
    if (id === shown && e.status === 404) put($("one-h"), $("one-h").textContent.replace(/, which is gone$/, "") + ", which is gone");
    return;
  }
  if (id === shown) facts(d, nodeName);
}

function facts(d, nodeName) {
  const all = [["Origin", d.origin], ["Identity", d.entity_id], ["Kind", d.kind], ["Module", d.module], ["Node", nodeName(d.node_id)], ["State", d.state + (d.reason ? ": " + d.reason : "")],
    ["Epoch", d.epoch], ["Chain", `head ${d.head || "–"}, sequence ${d.sequence}`], ["Events", `${count(d.events_processed)} applied, ${count(d.events_emitted)} outputs, ${count(d.errors)} errors`],
    ["Memory", bytes(d.memory_bytes)], ["Subscriptions", (d.subscriptions || []).map((s) => nodeName(s.publisher) + "/" + s.channel).join(", ") || "none"]];
  const list = $("facts");
  if (list.children.length !== all.length * 2) list.replaceChildren(...all.flatMap(([k]) => [el("dt", {}, k), el("dd")]));
  all.forEach(([, v], i) => put(list.children[2 * i + 1], v));
  sync($("receipts").tBodies[0], (d.receipts || []).slice().sort((a, b) => b.epoch - a.epoch), (r) => r.digest, () => row(["n", "", "", "n", "n", "n", "", "mono"]), (e, r) => {
    [r.epoch, nodeName(r.from), nodeName(r.to), bytes(r.bytes), r.rounds, took(r.downtime_ms), r.whole ? "both nodes" : "the target", r.digest.slice(0, 16)].forEach((v, i) => put(e.children[i], v));
  });
}
