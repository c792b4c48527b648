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

// Everything that the SDK's host for tests has.

const sdktest = wasmhost.sdktest;
const expect = std.testing.expect;
const second: i64 = 1_000_000_000;
const other: wasmhost.Id = @as([31]u8, @splat(0)) ++ [_]u8{0xff};

fn everything(_: []const u8) bool {
    return true;
}

fn others(to: *const wasmhost.Id) bool {
    return std.mem.eql(u8, to, &other);
}

test "a failure leaves no trace" {
    var d = sdktest.spawn(Tour, "tour");
    defer d.deinit();
    const failed = d.send("fail");
    try failed.fails(7);
    try std.testing.expectEqualStrings("told to", failed.failure.?.text);
    try expect(failed.logs.len == 0);
    try d.send("x").says(&.{"10-"});
    var next = d.upgrade(Tour).daemon;
    defer next.deinit();
    try next.send("x").says(&.{"20-"});
    try next.send("fail").fails(7);
    try next.send("x").says(&.{"30-"});
}

test "effects are values" {
    var d = sdktest.spawn(Tour, "tour");
    defer d.deinit();
    const a = d.send("all");
    try a.says(&.{ "all", "10-" });
    try std.testing.expectEqualStrings("an event", a.logs[0]);
    const never = 1 << 12 | 4;
    try std.testing.expectEqualDeep(@as([]const sdktest.Effect, &.{
        .{ .publish = .{ .channel = "news", .data = "p" } },
        .{ .send = .{ .to = sdktest.self, .data = "s" } },
        .{ .timer = .{ .number = 1 << 12 | 3, .at = sdktest.begin + second, .data = "ring" } },
        .{ .timer = .{ .number = never, .at = sdktest.begin + 2 * second, .data = "never" } },
        .{ .cancel = never },
    }), a.effects);
}

test "grants are refused" {
    var d = sdktest.spawn(Tour, "tour");
    defer d.deinit();
    d.denyPublish = everything;
    const refused = d.send("all");
    try std.testing.expectEqualStrings("Denied", refused.failure.?.text);
    d.denyPublish = null;
    d.denySend = others;
    try d.from(&other, "x").fails(1);
    d.denySend = null;
    try d.from(&other, "x").says(&.{"14+"});
}

test "senders and channels" {
    var d = sdktest.spawn(Tour, "tour");
    defer d.deinit();
    const a = d.from(&other, "x");
    try a.says(&.{"14+"});
    try expect(std.mem.eql(u8, &a.effects[0].send.to, &other));
    try d.channel("news", null, "x").says(&.{"21-news"});
    try d.channel("news", &other, "x").says(&.{"31+news"});
    try d.gap("news", 1, 2).says(&.{"42-news"});
}

test "timers fire in time" {
    var d = sdktest.spawn(Tour, "tour");
    defer d.deinit();
    _ = d.send("all"); // sets two, and cancels one
    try expect(d.timers() == 1);
    try expect(d.advance(second - 1).len == 0);
    const rang = d.advance(1);
    defer sdktest.free(rang);
    try expect(rang.len == 1 and d.now() == sdktest.begin + second);
    try rang[0].says(&.{"23+"});
    try expect(d.advance(3600 * second).len == 0);
}
