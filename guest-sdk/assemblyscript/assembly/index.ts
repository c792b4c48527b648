// Write wasmhost daemons in AssemblyScript (contract version 1).
//
// Extend Daemon, call register(new YourDaemon()) at the top level, and re-export
// the functions that the host calls: wasmhost_abi_v1, wasmhost_alloc,
// wasmhost_init and wasmhost_process always; wasmhost_stateless where nothing is
// kept between events; wasmhost_snapshot and wasmhost_restore where the state is
// to go over to another version of the code; wasmhost_query where it answers questions.
// Build with
// --exportStart _initialize and --use abort=assembly/index/abort_.

@external("wasmhost", "emit") declare function host_emit(ptr: usize, len: i32): void;
@external("wasmhost", "fail") declare function host_fail(ptr: usize, len: i32): void;
@external("wasmhost", "log") declare function host_log(level: i32, ptr: usize, len: i32): void;
@external("wasmhost", "event_origin") declare function host_event_origin(): u64;
@external("wasmhost", "event_sequence") declare function host_event_sequence(): u64;
@external("wasmhost", "event_time") declare function host_event_time(): i64;
@external("wasmhost", "event_sender") declare function host_event_sender(ptr: usize): void;
@external("wasmhost", "event_channel") declare function host_event_channel(ptr: usize, cap: i32): i32;
@external("wasmhost", "daemon_id") declare function host_daemon_id(ptr: usize): void;
@external("wasmhost", "random") declare function host_random(ptr: usize, len: i32): void;

/** The version of the contract that this package follows. */
export const ABI_VERSION: i32 = 1;

/** Levels of log. */
export enum Level {
  Debug = 0,
  Info = 1,
  Warn = 2,
  Error = 3,
}

/** One event. What it knows of its sender is asked of the host when it is needed. */
export class Event {
  constructor(
    /** The event's bytes, valid until process returns. */
    readonly data: Uint8Array,
  ) {}

  /** The event's bytes as text. */
  get text(): string {
    return String.UTF8.decodeUnsafe(this.data.dataStart, this.data.length);
  }

  /** Which event this is: 1 for the first that the daemon applies. */
  get sequence(): u64 {
    return host_event_sequence();
  }

  /** When the event was recorded, in nanoseconds since the Unix epoch. */
  get time(): i64 {
    return host_event_time();
  }

  /** The sender's identity, 32 bytes; zeros when the event is anonymous. */
  get sender(): Uint8Array {
    const id = new Uint8Array(32);
    host_event_sender(id.dataStart);
    return id;
  }

  /** The sender's origin hash; 0 when the event is anonymous. */
  get origin(): u64 {
    return host_event_origin();
  }

  /** The channel that the event came by; empty for a direct event. */
  get channel(): string {
    const name = new Uint8Array(255);
    const n = host_event_channel(name.dataStart, name.length);
    return String.UTF8.decodeUnsafe(name.dataStart, min(n, name.length));
  }
}

/** A daemon. A result other than 0 is an error code; give its text to fail. */
export abstract class Daemon {
  /** Takes the configuration, which may be empty, once at spawn. */
  init(config: Uint8Array): i32 {
    return config.length == 0 ? 0 : fail(2, "the daemon takes no configuration");
  }
  /** Applies one event. Outputs go out by emit. */
  abstract process(event: Event): i32;
  /** Returns the state; null for failure. */
  snapshot(): Uint8Array | null {
    return new Uint8Array(0);
  }
  /** Takes what snapshot returned. */
  restore(state: Uint8Array): i32 {
    return fail(3, "the daemon takes no state");
  }
  /**
   * Answers a question, which changes nothing: the host undoes whatever the answer took. It
   * may neither emit nor act on others. null for failure, after fail.
   */
  query(question: Uint8Array): Uint8Array | null {
    fail(3, "the daemon answers no questions");
    return null;
  }
}

let daemon: Daemon | null = null;
let input: Uint8Array = new Uint8Array(4096);
let output: Uint8Array = new Uint8Array(0);

/** Makes d the daemon of this module. */
export function register(d: Daemon): void {
  daemon = d;
}

/** Emits one output. */
export function emit(data: Uint8Array): void {
  host_emit(data.dataStart, data.length);
}

/** Emits one output of text. */
export function emitText(text: string): void {
  const b = String.UTF8.encode(text);
  host_emit(changetype<usize>(b), b.byteLength);
}

/** Gives the error's text and returns its code: return fail(1, "..."). */
export function fail(code: i32, text: string): i32 {
  const b = String.UTF8.encode(text);
  host_fail(changetype<usize>(b), b.byteLength);
  return code == 0 ? 1 : code;
}

/** Writes a line to the daemon's log. */
export function log(level: Level, text: string): void {
  const b = String.UTF8.encode(text);
  host_log(level, changetype<usize>(b), b.byteLength);
}

/** When the event was recorded, in nanoseconds since the Unix epoch. */
export function now(): i64 {
  return host_event_time();
}

/** The daemon's own identity, 32 bytes. */
export function daemonId(): Uint8Array {
  const id = new Uint8Array(32);
  host_daemon_id(id.dataStart);
  return id;
}

/** Fills out from the event's random stream: the same again on a replay. */
export function random(out: Uint8Array): void {
  host_random(out.dataStart, out.length);
}

export function wasmhost_abi_v1(): void {}

export function wasmhost_stateless(): void {}

export function wasmhost_alloc(len: i32): i32 {
  if (input.length < len) {
    let cap = input.length;
    while (cap < len) cap *= 2;
    input = new Uint8Array(cap);
  }
  return input.dataStart as i32;
}

export function wasmhost_init(ptr: i32, len: i32): i32 {
  return daemon!.init(input.subarray(0, len));
}

export function wasmhost_process(ptr: i32, len: i32): i32 {
  return daemon!.process(new Event(input.subarray(0, len)));
}

export function wasmhost_snapshot(): i64 {
  const state = daemon!.snapshot();
  if (state === null) return -1;
  output = state;
  return ((output.dataStart as i64) << 32) | (output.length as i64);
}

export function wasmhost_query(ptr: i32, len: i32): i64 {
  const found = daemon!.query(input.subarray(0, len));
  if (found === null) return -1;
  output = found;
  return ((output.dataStart as i64) << 32) | (output.length as i64);
}

export function wasmhost_restore(ptr: i32, len: i32): i32 {
  return daemon!.restore(input.subarray(0, len));
}

/** Makes a failed assertion, or any abort, reach the host with its text. */
export function abort_(message: string | null, file: string | null, line: u32, column: u32): void {
  const text = (message === null ? "abort" : message) + " at " + (file === null ? "?" : file) + ":" + line.toString();
  fail(1, text);
  unreachable();
}

@external("wasmhost", "event_kind") declare function host_event_kind(): i32;

/**
 * What an event is to its daemon: sent to it; of a channel that it is subscribed to;
 * or a gap in one, 16 bytes: the sequences of the first and the last lost event,
 * little-endian, zeros where they are not known; a timer of its own; sent by another
 * daemon, which is proven; asked by another daemon, which is proven and waits for an answer;
 * or a call of its own that has ended.
 */
export enum EventKind { Direct = 0, Channel = 1, Gap = 2, Timer = 3, Daemon = 4, Asked = 5, Reply = 6, Query = 7 }

/** What the event is. */
export function eventKind(): EventKind { return host_event_kind(); }

@external("wasmhost", "publish") declare function host_publish(channel: usize, size: i32, ptr: usize, len: i32): i32;
@external("wasmhost", "send") declare function host_send(id: usize, ptr: usize, len: i32): i32;
@external("wasmhost", "timer") declare function host_timer(at: i64, ptr: usize, len: i32): i64;
@external("wasmhost", "timer_cancel") declare function host_timer_cancel(timer: i64): void;
@external("wasmhost", "ask") declare function host_ask(id: usize, ptr: usize, len: i32, deadline: i64): i64;
@external("wasmhost", "answer") declare function host_answer(call: i64, ptr: usize, len: i32): i32;
@external("wasmhost", "refuse") declare function host_refuse(call: i64, ptr: usize, len: i32): i32;
@external("wasmhost", "event_call") declare function host_event_call(): i64;
@external("wasmhost", "event_status") declare function host_event_status(): i32;

/**
 * Whether something is published, sent or set: it is; the daemon was not granted that
 * when it was spawned; no channel, daemon or time is like that; more than 1 MiB.
 */
export enum Answer { Done = 0, Denied = 1, Invalid = 2, TooLarge = 3 }

/** Publishes an event on a channel, once this event is durable. */
export function publish(channel: string, data: Uint8Array): Answer {
  const name = String.UTF8.encode(channel);
  return host_publish(changetype<usize>(name), name.byteLength, data.dataStart, data.length);
}

/** Sends an event to a daemon, 32 bytes, wherever it is, once this event is durable. */
export function send(to: Uint8Array, data: Uint8Array): Answer {
  return to.length == 32 ? host_send(to.dataStart, data.dataStart, data.length) : Answer.Invalid;
}

/**
 * Has the daemon get the data as an event of kind Timer at that time, in nanoseconds
 * since the Unix epoch: once, and late rather than never. Returns the timer's number, or
 * minus an Answer.
 */
export function timer(at: i64, data: Uint8Array): i64 {
  return host_timer(at, data.dataStart, data.length);
}

/** timer at so many nanoseconds after this event. */
export function timerAfter(ns: i64, data: Uint8Array): i64 {
  return timer(now() + ns, data);
}

/** Makes a timer not fire. One that has fired is no error. */
export function cancelTimer(timer: i64): void {
  host_timer_cancel(timer);
}

/**
 * How a call ended: it was answered; the other daemon refused it, or failed on it; there is
 * no such daemon; the deadline passed first; this daemon is a fork of the one that asked.
 */
export enum CallStatus { Answered = 0, Refused = 1, Failed = 2, NoSuchDaemon = 3, TimedOut = 4, Forked = 5 }

/**
 * Sends an event of kind Asked to a daemon, 32 bytes, which answers it; as send. How the
 * call ends comes as an event of kind Reply with that eventCall. The deadline is in
 * nanoseconds since the Unix epoch; 0: it never passes. Returns the call's number, or minus
 * an Answer.
 */
export function ask(to: Uint8Array, data: Uint8Array, deadline: i64 = 0): i64 {
  return to.length == 32 ? host_ask(to.dataStart, data.dataStart, data.length, deadline) : -<i64>Answer.Invalid;
}

/** Of an event of kind Asked, what to answer; of one of kind Reply, the call that has ended; else 0. */
export function eventCall(): i64 { return host_event_call(); }

/**
 * How the call ended that an event of kind Reply is of. The event's data is the answer, or
 * why there is none.
 */
export function eventStatus(): CallStatus { return host_event_status(); }

/** Answers what another daemon asked, in that event or in a later one. The first answer counts. */
export function answerCall(call: i64, data: Uint8Array): Answer {
  return host_answer(call, data.dataStart, data.length);
}

/** Answers with the reason why there is no answer. */
export function refuseCall(call: i64, reason: string): Answer {
  const b = String.UTF8.encode(reason);
  return host_refuse(call, changetype<usize>(b), b.byteLength);
}

/** Text as bytes. */
export function bytesOf(text: string): Uint8Array {
  return Uint8Array.wrap(String.UTF8.encode(text));
}
