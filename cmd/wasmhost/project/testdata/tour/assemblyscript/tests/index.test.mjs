// Tests of the tour: everything that the SDK's host for tests has.
import assert from "node:assert/strict";
import test from "node:test";
import { BEGIN, SELF, spawn } from "wasmhost-assemblyscript/sdktest";

const second = 1000000000n;
const other = new Uint8Array(32).fill(0xff, 31);

test("a failure leaves no trace", () => {
  const d = spawn("tour.wasm", "tour");
  const failed = d.send("fail");
  assert.equal(failed.code, 7);
  assert.equal(failed.failure.message, "told to");
  assert.deepEqual(failed.logs, []);
  assert.match(d.send("panic").failure.message, /^told to at /);
  assert.deepEqual(d.send("x").texts, ["10-"]);
  d.upgrade("tour.wasm");
  assert.deepEqual(d.send("x").texts, ["20-"]);
  assert.equal(d.send("fail").code, 7);
  assert.deepEqual(d.send("x").texts, ["30-"]);
});

test("a configuration is refused", () => {
  assert.throws(() => spawn("tour.wasm", "other"), /the configuration is tour/);
});

test("effects are values", () => {
  const d = spawn("tour.wasm", "tour");
  const a = d.send("all");
  assert.deepEqual(a.texts, ["all", "10-"]);
  assert.deepEqual(a.logs, ["an event"]);
  const short = a.effects.map(({ data, ...e }) => e);
  const never = (1n << 12n) | 4n;
  assert.deepEqual(short, [
    { channel: "news", text: "p" },
    { to: SELF, text: "s" },
    { timer: (1n << 12n) | 3n, at: BEGIN + second, text: "ring" },
    { timer: never, at: BEGIN + 2n * second, text: "never" },
    { timer: never },
  ]);
});

test("grants are refused", () => {
  const d = spawn("tour.wasm", "tour");
  d.denyPublish = (channel) => channel === "news";
  assert.equal(d.send("all").code, 0); // the tour asserts that it is granted
  d.denyPublish = null;
  d.denySend = (to) => to[31] === 0xff;
  assert.equal(d.from(other, "x").code, 0);
  d.denySend = null;
  assert.deepEqual(d.from(other, "x").texts, ["14+"]);
});

test("senders and channels", () => {
  const d = spawn("tour.wasm", "tour");
  const a = d.from(other, "x");
  assert.deepEqual(a.texts, ["14+"]);
  assert.deepEqual(a.effects[0].to, other);
  assert.deepEqual(d.channel("news", null, "x").texts, ["21-news"]);
  assert.deepEqual(d.channel("news", other, "x").texts, ["31+news"]);
  assert.deepEqual(d.gap("news", 1, 2).texts, ["42-news"]);
});

test("timers fire in time", () => {
  const d = spawn("tour.wasm", "tour");
  d.send("all"); // sets two, and cancels one
  assert.equal(d.timers, 1);
  assert.deepEqual(d.advance(second - 1n), []);
  const rang = d.advance(1n);
  assert.deepEqual(rang.map((a) => a.texts), [["23+"]]);
  assert.equal(d.now, BEGIN + second);
  assert.deepEqual(d.advance(3600n * second), []);
});
