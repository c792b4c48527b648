//! A tour of everything that the SDK has.
const std = @import("std");
const wasmhost = @import("wasmhost");

const emit = wasmhost.emit;
const kind = wasmhost.kind;
const now = wasmhost.now;
const publish = wasmhost.publish;
const send = wasmhost.send;
const timer = wasmhost.timer;
const timerAfter = wasmhost.timerAfter;

pub const panic = wasmhost.panic;

const Tour = struct {
    unused: u8 = 0,

    pub fn init(_: *Tour, config: []const u8) !void {
        if (!std.mem.eql(u8, config, "tour")) return wasmhost.fail(1, "the configuration is tour");
    }

    pub fn process(_: *Tour, event: wasmhost.Event) !void {
        wasmhost.log(.info, "an event");
        if (std.mem.eql(u8, event.data, "fail")) return wasmhost.fail(7, "told to");
        if (std.mem.eql(u8, event.data, "panic")) @panic("told to");
        if (std.mem.eql(u8, event.data, "all")) {
            emit(event.data);
            try publish("news", "p");
            try send(&wasmhost.self(), "s");
            _ = try timerAfter(1_000_000_000, "ring");
            const never = try timer(event.time() + 2_000_000_000, "never");
            never.cancel();
            var bytes: [4]u8 = undefined;
            wasmhost.random(&bytes);
            if (now() != event.time()) return error.Time;
        }
        if (kind() == .daemon) try send(&event.sender(), "s");
        var buffer: [255]u8 = undefined;
        if (kind() == .timer and event.channel(&buffer).len != 0) return error.Channel;
        const text = try std.fmt.allocPrint(wasmhost.allocator, "{d}{d}{s}{s}", .{
            event.sequence(), @intFromEnum(kind()), if (event.origin() == 0) "-" else "+", event.channel(&buffer),
        });
        defer wasmhost.allocator.free(text);
        emit(text);
    }

    pub fn snapshot(_: *Tour) ![]const u8 {
        return "";
    }

    pub fn restore(_: *Tour, state: []const u8) !void {
        if (state.len != 0) return wasmhost.fail(3, "no state was saved");
    }
};

comptime {
    wasmhost.daemon(Tour);
}
