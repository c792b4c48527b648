// echo emits every event as it came.
import { Daemon, emit, register } from "../assembly/index";

class Echo extends Daemon {
  process(event: Uint8Array): i32 {
    emit(event);
    return 0;
  }
}

register(new Echo());

export { wasmhost_abi_v1, wasmhost_alloc, wasmhost_init, wasmhost_process, wasmhost_stateless } from "../assembly/index";
