//! echo emits every event as it came.
const wasmhost = @import("wasmhost");

pub const panic = wasmhost.panic;

const Echo = struct {
    pub const stateless = true;

    pub fn process(_: *Echo, event: wasmhost.Event) !void {
        wasmhost.emit(event.data);
    }
};

comptime {
    wasmhost.daemon(Echo);
}
