// A tour of everything that the SDK has.
import {
  Answer, Daemon, Event, EventKind, Level, bytesOf, cancelTimer, daemonId, emit, emitText, eventKind, fail, log, now, publish, random, register, send, timer, timerAfter,
} from "wasmhost-assemblyscript/assembly";

class Tour extends Daemon {
  init(config: Uint8Array): i32 {
    return config.length == 4 ? 0 : fail(1, "the configuration is tour");
  }

  process(event: Event): i32 {
    log(Level.Info, "an event");
    if (event.text == "fail") return fail(7, "told to");
    assert(event.text != "panic", "told to");
    if (event.text == "all") {
      emit(event.data);
      assert(publish("news", bytesOf("p")) == Answer.Done);
      assert(send(daemonId(), bytesOf("s")) == Answer.Done);
      assert(timerAfter(1000000000, bytesOf("ring")) > 0);
      cancelTimer(timer(event.time + 2000000000, bytesOf("never")));
      random(new Uint8Array(4));
      assert(now() == event.time);
    }
    if (eventKind() == EventKind.Daemon) assert(send(event.sender, bytesOf("s")) == Answer.Done);
    assert(eventKind() != EventKind.Timer || event.channel == "");
    const kind: i32 = eventKind();
    emitText(event.sequence.toString() + kind.toString() + (event.origin == 0 ? "-" : "+") + event.channel);
    return 0;
  }

  snapshot(): Uint8Array | null {
    return new Uint8Array(0);
  }

  restore(state: Uint8Array): i32 {
    return state.length == 0 ? 0 : fail(3, "no state was saved");
  }
}

register(new Tour());

export { wasmhost_abi_v1, wasmhost_alloc, wasmhost_init, wasmhost_process, wasmhost_snapshot, wasmhost_restore } from "wasmhost-assemblyscript/assembly";
