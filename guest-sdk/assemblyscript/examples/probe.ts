// probe does what abi/vectors.md says, for the golden vectors.
import { Answer, Daemon, Event, Level, bytesOf, cancelTimer, daemonId, emit, emitText, eventKind, fail, log, publish, random, register, send, timerAfter } from "../assembly/index";

function hex(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i++) text += "0123456789abcdef".charAt(bytes[i] >> 4) + "0123456789abcdef".charAt(bytes[i] & 15);
  return text;
}

class Probe extends Daemon {
  count: u64 = 0;

  init(config: Uint8Array): i32 {
    this.count = 0;
    for (let i = 0; i < config.length; i++) {
      if (config[i] < 48 || config[i] > 57) return fail(2, "configuration is a number");
      this.count = this.count * 10 + (config[i] - 48);
    }
    return 0;
  }

  process(event: Event): i32 {
    const command = event.data.length <= 8 ? event.text : "";
    if (command == "count") {
      emitText((++this.count).toString());
    } else if (command == "emit") {
      emitText("a");
      emit(new Uint8Array(0));
      emitText("b");
    } else if (command == "event") {
      emitText(event.sequence.toString());
      emitText(event.time.toString());
      emitText(event.origin.toString());
      emitText(hex(event.sender));
      emitText(event.channel);
    } else if (command == "self") {
      emitText(hex(daemonId()));
    } else if (command == "random") {
      const bytes = new Uint8Array(16);
      random(bytes);
      emitText(hex(bytes));
    } else if (command == "log") {
      log(Level.Debug, "debug");
      log(Level.Info, "info");
      log(Level.Warn, "warn");
      log(Level.Error, "error");
    } else if (command == "kind") {
      emitText((eventKind() as i32).toString());
    } else if (command == "publish" || command == "secret" || command == "misnamed") {
      const channel = command == "publish" ? "news" : command == "secret" ? "secret" : "No such channel";
      emitText((publish(channel, bytesOf("hello")) as i32).toString());
    } else if (command == "reply") {
      emitText((send(event.sender, bytesOf("hi")) as i32).toString());
    } else if (command == "timer" || command == "cancel") {
      const timer = timerAfter(3600000000000, bytesOf("ring"));
      if (command == "cancel") cancelTimer(timer);
      emitText(timer.toString());
    } else if (command == "undone") {
      if (publish("news", bytesOf("hello")) != Answer.Done) return fail(1, "it was not published");
      return fail(7, "undone");
    } else if (command == "fail") {
      this.count++;
      return fail(7, "failed: ä");
    } else if (command == "panic") {
      this.count++;
      throw new Error("at the disco");
    } else {
      emitText(event.data.length.toString());
    }
    return 0;
  }

  snapshot(): Uint8Array | null {
    const state = new Uint8Array(8);
    store<u64>(state.dataStart, this.count);
    return state;
  }

  restore(state: Uint8Array): i32 {
    if (state.length != 8) return fail(3, "the state has 8 bytes");
    this.count = load<u64>(state.dataStart);
    return 0;
  }
}

register(new Probe());

export { wasmhost_abi_v1, wasmhost_alloc, wasmhost_init, wasmhost_process, wasmhost_snapshot, wasmhost_restore } from "../assembly/index";
