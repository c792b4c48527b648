// echo emits every event as it came.
import { Daemon, Event, emit, register } from "../assembly/index";

class Echo extends Daemon {
  process(event: Event): i32 {
    emit(event.data);
    return 0;
  }
}

register(new Echo());

export { wasmhost_abi_v1, wasmhost_alloc, wasmhost_init, wasmhost_process, wasmhost_stateless } from "../assembly/index";
