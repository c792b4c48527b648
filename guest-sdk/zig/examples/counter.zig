//! counter counts its events and emits the count. Configuration {"start":N} sets
//! where it starts; the event "fail" fails.
const std = @import("std");
const wasmhost = @import("wasmhost");

pub const panic = wasmhost.panic;

const wrong = "configuration must be {\"start\":N}";

const Counter = struct {
    count: u64 = 0,
    state: [8]u8 = undefined,

    pub fn init(c: *Counter, config: []const u8) !void {
        if (config.len == 0) return;
        var text: [64]u8 = undefined;
        var used: usize = 0;
        for (config) |b| { // white space does not matter
            if (std.ascii.isWhitespace(b)) continue;
            if (used == text.len) return wasmhost.fail(2, wrong);
            text[used] = b;
            used += 1;
        }
        const head = "{\"start\":";
        const got = text[0..used];
        if (!std.mem.startsWith(u8, got, head) or !std.mem.endsWith(u8, got, "}")) return wasmhost.fail(2, wrong);
        const digits = got[head.len .. got.len - 1];
        for (digits) |b| if (!std.ascii.isDigit(b)) return wasmhost.fail(2, wrong);
        c.count = std.fmt.parseInt(u64, digits, 10) catch return wasmhost.fail(2, wrong);
    }

    pub fn process(c: *Counter, event: wasmhost.Event) !void {
        if (std.mem.eql(u8, event.data, "fail")) return wasmhost.fail(1, "asked to fail");
        c.count += 1;
        var text: [20]u8 = undefined;
        wasmhost.emit(std.fmt.bufPrint(&text, "{d}", .{c.count}) catch unreachable);
    }

    pub fn snapshot(c: *Counter) ![]const u8 {
        std.mem.writeInt(u64, &c.state, c.count, .little);
        return &c.state;
    }

    pub fn restore(c: *Counter, state: []const u8) !void {
        if (state.len != 8) return wasmhost.fail(3, "a counter's state has 8 bytes");
        c.count = std.mem.readInt(u64, state[0..8], .little);
    }
};

comptime {
    wasmhost.daemon(Counter);
}
