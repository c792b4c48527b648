// Runs a daemon under node, in a host that keeps everything in memory:
//
//   import test from "node:test";
//   import assert from "node:assert/strict";
//   import { spawn } from "wasmhost-assemblyscript/sdktest";
//
//   test("it numbers events", () => {
//     const d = spawn("tally.wasm");
//     assert.deepEqual(d.send("hello").texts, ["1 hello"]);
//   });
//
// It is the module itself that runs. An event that fails or traps leaves no trace: the
// module is instantiated again, and gets the events before once more, without effects.
// Limits (fuel, memory, time) are not applied: wasmhost check and wasmhost run do that.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

/** When a daemon is spawned: 2000-01-01 UTC, in nanoseconds since the Unix epoch. */
export const BEGIN = 946684800n * 1000000000n;

/** The identity of each daemon, 32 bytes. */
export const SELF = new Uint8Array(createHash("sha256").update("sdktest").digest());

const Kind = { direct: 0, channel: 1, gap: 2, timer: 3, daemon: 4 };
const DONE = 0, DENIED = 1, INVALID = 2, TOO_LARGE = 3;
const MAX_PAYLOAD = 1 << 20;
const NOBODY = new Uint8Array(32);

const bytesOf = (data) => (typeof data === "string" ? new TextEncoder().encode(data) : Uint8Array.from(data));
const textOf = (bytes) => new TextDecoder().decode(bytes);
const same = (a, b) => Buffer.compare(a, b) === 0;

/** Why an event failed: the code and the text of fail, or code 0 of a trap. */
export class Failure extends Error {
  constructor(code, text) {
    super(text);
    this.code = code;
  }
}

/**
 * What came of one event. Where it failed nothing else came of it.
 *
 * outputs: byte arrays; texts: the same as texts; logs: texts; failure: a Failure, or null.
 * effects: objects, of which data is a byte array and text the same as a text:
 * { channel, data } of a published one, { to, data } of one that is sent,
 * { timer, at, data } of a timer that is set, { timer } of one that is cancelled; timer
 * and at are BigInts.
 */
export class Answer {
  outputs = [];
  effects = [];
  logs = [];
  failure = null;

  get texts() {
    return this.outputs.map(textOf);
  }

  get code() {
    return this.failure === null ? null : this.failure.code;
  }
}

// withText gives an effect its data, also as a text.
function withText(effect, data) {
  return { ...effect, data, text: textOf(data) };
}

/** Makes a daemon of a module: the file that has it. Throws where its init fails. */
export function spawn(file, config = "") {
  return new Daemon(new WebAssembly.Module(readFileSync(file)), { init: bytesOf(config), at: BEGIN, sequence: 0 });
}

class Daemon {
  /** What publish and send are asked: true is Answer.Denied. null denies nothing. */
  denyPublish = null; // (channel) => boolean
  denySend = null; // (to) => boolean

  #module;
  #begin; // how it is made as it was before past
  #past = []; // calls that were applied
  #instance;
  #applied;
  #now;
  #timers = []; // by time, then number

  constructor(module, begin) {
    this.#module = module;
    this.#begin = begin;
    this.#applied = begin.sequence;
    this.#now = begin.at;
    this.#make();
  }

  /** Has the daemon apply an event that was sent to it. */
  send(data) {
    return this.#apply({ kind: Kind.direct, data });
  }

  /** Has the daemon apply an event that another daemon sent. */
  from(sender, data) {
    return this.#apply({ kind: Kind.daemon, sender, data });
  }

  /** Has the daemon apply an event of a channel. No publisher is the owner of its node. */
  channel(channel, publisher, data) {
    return this.#apply({ kind: Kind.channel, channel, sender: publisher ?? NOBODY, data });
  }

  /** Has the daemon apply a gap in a channel: first and last are lost. */
  gap(channel, first, last) {
    const data = new DataView(new ArrayBuffer(16));
    data.setBigUint64(0, BigInt(first), true);
    data.setBigUint64(8, BigInt(last), true);
    return this.#apply({ kind: Kind.gap, channel, data: new Uint8Array(data.buffer) });
  }

  /** Lets nanoseconds pass, and returns what came of each timer that was due, in order. */
  advance(ns) {
    const until = this.#now + BigInt(ns);
    const answers = [];
    while (this.#timers.length > 0 && this.#timers[0].at <= until) {
      const due = this.#timers.shift();
      if (due.at > this.#now) this.#now = due.at;
      answers.push(this.#apply({ kind: Kind.timer, sender: SELF, data: due.data }));
    }
    this.#now = until;
    return answers;
  }

  /** The daemon's time, in nanoseconds since the Unix epoch, a BigInt. */
  get now() {
    return this.#now;
  }

  /** How many timers are set. */
  get timers() {
    return this.#timers.length;
  }

  /**
   * Carries the state to another module, by wasmhost_snapshot and wasmhost_restore, as
   * wasmhost upgrade does. Where that throws, the old one goes on.
   */
  upgrade(file) {
    if (!this.#instance.exports.wasmhost_snapshot) throw new Error("the daemon exports no wasmhost_snapshot and wasmhost_restore");
    const begin = { at: this.#now, sequence: this.#applied };
    const call = { kind: Kind.direct, sender: NOBODY, channel: "", ...begin, said: [] };
    let place;
    const failure = this.#run(call, (e) => {
      place = e.wasmhost_snapshot();
      return place === -1n ? 1 : 0;
    }).failure;
    if (failure !== null) {
      this.#undo();
      throw failure;
    }

    const size = Number(place & 0xffffffffn);
    begin.restore = new Uint8Array(this.#instance.exports.memory.buffer, Number(BigInt.asUintN(64, place) >> 32n), size).slice();
    const old = [this.#module, this.#begin, this.#past, this.#instance];
    try {
      [this.#module, this.#begin, this.#past] = [new WebAssembly.Module(readFileSync(file)), begin, []];
      this.#make();
    } catch (e) {
      [this.#module, this.#begin, this.#past, this.#instance] = old;
      throw e;
    }
  }

  // #apply runs an event, and undoes it where it fails.
  #apply(event) {
    const call = { sender: NOBODY, channel: "", ...event, data: bytesOf(event.data), at: this.#now, sequence: this.#applied + 1, said: [] };
    const answer = this.#run(call, (e) => this.#give(e, e.wasmhost_process, call.data));
    if (answer.failure !== null) {
      this.#undo();
      return answer;
    }

    this.#applied++;
    this.#past.push(call);
    for (const e of answer.effects) {
      if (e.at !== undefined) this.#timers.push(e);
      else if (e.timer !== undefined) this.#timers = this.#timers.filter((t) => t.timer !== e.timer);
    }
    this.#timers.sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0)); // stable
    return answer;
  }

  // #undo makes the daemon again, with its past.
  #undo() {
    this.#make();
    for (const call of this.#past) {
      const { failure } = this.#run(call, (e) => this.#give(e, e.wasmhost_process, call.data));
      if (failure !== null) throw new Error(`event ${call.sequence} was applied, and fails when it is applied again: ${failure.message}`);
    }
  }

  // #make instantiates the module, and gives it its configuration or its state.
  #make() {
    const call = { kind: Kind.direct, sender: NOBODY, channel: "", at: this.#begin.at, sequence: this.#begin.sequence, said: [] };
    const { failure } = this.#run(call, () => {
      this.#instance = new WebAssembly.Instance(this.#module, { wasmhost: this.#imports });
      const e = this.#instance.exports;
      e._initialize?.();
      if (this.#begin.restore) {
        if (!e.wasmhost_restore) throw new Error("the module exports no wasmhost_restore");
        return this.#give(e, e.wasmhost_restore, this.#begin.restore);
      }
      return e.wasmhost_init ? this.#give(e, e.wasmhost_init, this.#begin.init) : 0;
    });
    if (failure !== null) throw failure;
  }

  // #give calls a function with bytes, in the buffer that the module has for them.
  #give(exports, call, bytes) {
    const ptr = exports.wasmhost_alloc(bytes.length) >>> 0;
    new Uint8Array(exports.memory.buffer).set(bytes, ptr);
    return call(ptr, bytes.length);
  }

  #call; // that runs
  #answer; // of it
  #text; // that fail was given

  // #run runs what returns a code.
  #run(call, f) {
    this.#call = call;
    this.#answer = new Answer();
    this.#text = "";
    call.asked = 0;
    call.random = BigInt(call.sequence);
    let failure = null;
    try {
      const code = f(this.#instance?.exports);
      if (code !== 0) failure = new Failure(code, this.#text);
    } catch (e) {
      if (!(e instanceof WebAssembly.RuntimeError)) throw e;
      failure = new Failure(0, this.#text || e.message);
    }
    const answer = this.#answer;
    this.#call = this.#answer = undefined;
    return failure === null ? answer : Object.assign(new Answer(), { failure });
  }

  #bytes(ptr, size) {
    return new Uint8Array(this.#instance.exports.memory.buffer, ptr >>> 0, size).slice();
  }

  #write(ptr, bytes) {
    new Uint8Array(this.#instance.exports.memory.buffer).set(bytes, ptr >>> 0);
  }

  // #effect takes an effect, unless it is refused.
  #effect(effect, data, bad, denied) {
    const { said } = this.#call;
    const n = this.#call.asked++;
    if (n === said.length) {
      said.push(bad ? INVALID : data.length > MAX_PAYLOAD ? TOO_LARGE : denied() ? DENIED : DONE);
    } // else it is answered as it was when the event was applied
    if (said[n] === DONE) this.#answer.effects.push(withText(effect, data));
    return said[n];
  }

  // What a module imports.
  #imports = {
    emit: (ptr, size) => void this.#answer.outputs.push(this.#bytes(ptr, size)),
    fail: (ptr, size) => void (this.#text = textOf(this.#bytes(ptr, size))),
    log: (_, ptr, size) => void this.#answer.logs.push(textOf(this.#bytes(ptr, size))),
    event_sequence: () => BigInt(this.#call.sequence),
    event_time: () => this.#call.at,
    now: () => this.#call.at,
    event_kind: () => this.#call.kind,
    event_origin: () => (same(this.#call.sender, NOBODY) ? 0n : new DataView(this.#call.sender.buffer, this.#call.sender.byteOffset).getBigUint64(0, true) | 1n),
    event_sender: (ptr) => this.#write(ptr, this.#call.sender),
    event_channel: (ptr, cap) => {
      const name = bytesOf(this.#call.channel);
      this.#write(ptr, name.subarray(0, cap));
      return name.length;
    },
    daemon_id: (ptr) => this.#write(ptr, SELF),
    // A stream that follows from the event's number (splitmix64).
    random: (ptr, size) => {
      const out = new Uint8Array(size);
      const u64 = (n) => BigInt.asUintN(64, n);
      for (let i = 0; i < size; i++) {
        this.#call.random = u64(this.#call.random + 0x9e3779b97f4a7c15n);
        let z = this.#call.random;
        z = u64((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
        z = u64((z ^ (z >> 27n)) * 0x94d049bb133111ebn);
        out[i] = Number((z ^ (z >> 31n)) & 0xffn);
      }
      this.#write(ptr, out);
    },
    publish: (name, nameSize, ptr, size) => {
      const channel = textOf(this.#bytes(name, nameSize));
      return this.#effect({ channel }, this.#bytes(ptr, size), nameSize === 0 || nameSize > 255, () => this.denyPublish?.(channel));
    },
    send: (id, ptr, size) => {
      const to = this.#bytes(id, 32);
      return this.#effect({ to }, this.#bytes(ptr, size), same(to, NOBODY), () => this.denySend?.(to));
    },
    timer: (at, ptr, size) => {
      if (at <= 0n) return BigInt(-INVALID);
      if (size > MAX_PAYLOAD) return BigInt(-TOO_LARGE);
      const timer = (BigInt(this.#call.sequence) << 12n) | BigInt(this.#answer.effects.length + 1);
      this.#answer.effects.push(withText({ timer, at }, this.#bytes(ptr, size)));
      return timer;
    },
    timer_cancel: (timer) => void this.#answer.effects.push({ timer }),
  };
}
