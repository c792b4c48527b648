// counter counts its events and emits the count. Configuration {"start":N}
// sets where it starts; the event "fail" fails.
import { Daemon, Event, emitText, fail, register } from "../assembly/index";

function isText(b: Uint8Array, text: string): bool {
  if (b.length != text.length) return false;
  for (let i = 0; i < text.length; i++) if (b[i] != text.charCodeAt(i)) return false;
  return true;
}

class Counter extends Daemon {
  count: u64 = 0;

  init(config: Uint8Array): i32 {
    if (config.length == 0) return 0;
    const head = '{"start":';
    const wrong = 'configuration must be {"start":N}';
    let at = 0;
    let digits = 0;
    let closed = false;
    let n: u64 = 0;
    for (let i = 0; i < config.length; i++) {
      const c = config[i];
      if (c == 32 || c == 9 || c == 10 || c == 13) continue;
      if (at < head.length) {
        if (c != head.charCodeAt(at++)) return fail(2, wrong);
      } else if (c >= 48 && c <= 57 && !closed && n <= 100000000000000000) {
        n = n * 10 + (c - 48);
        digits++;
      } else if (c == 125 && digits > 0 && !closed) {
        closed = true;
      } else {
        return fail(2, wrong);
      }
    }
    if (!closed) return fail(2, wrong);
    this.count = n;
    return 0;
  }

  process(event: Event): i32 {
    if (isText(event.data, "fail")) return fail(1, "asked to fail");
    this.count++;
    emitText(this.count.toString());
    return 0;
  }

  snapshot(): Uint8Array | null {
    const state = new Uint8Array(8);
    store<u64>(state.dataStart, this.count);
    return state;
  }

  restore(state: Uint8Array): i32 {
    if (state.length != 8) return fail(3, "a counter's state has 8 bytes");
    this.count = load<u64>(state.dataStart);
    return 0;
  }
}

register(new Counter());

export { wasmhost_abi_v1, wasmhost_alloc, wasmhost_init, wasmhost_process, wasmhost_snapshot, wasmhost_restore } from "../assembly/index";
