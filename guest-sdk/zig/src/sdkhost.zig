//! What a module imports, where the daemon runs in a test: the functions have the names
//! and the parameters that they have in a module.

const std = @import("std");
const wasmhost = @import("wasmhost.zig");

const done = 0;
const denied = 1;
const invalid = 2;
const too_large = 3;

const max_payload = 1 << 20;

/// The memory of what tests get, until the program ends.
pub const memory = std.heap.page_allocator;

/// The identity of each daemon.
pub const self: wasmhost.Id = id: {
    var id: wasmhost.Id = undefined;
    _ = std.fmt.hexToBytes(&id, "4e0db1951829da7121c1a3f8bdc0a35cd0fe0c7ea920acd718392e546e8c517b") catch unreachable;
    break :id id;
};

/// What a daemon does to others.
pub const Effect = union(enum) {
    publish: struct { channel: []const u8, data: []const u8 },
    send: struct { to: wasmhost.Id, data: []const u8 },
    timer: struct { number: i64, at: i64, data: []const u8 },
    cancel: i64,
};

/// What is answered, and why it failed.
pub const Failure = struct { code: i32, text: []const u8 };

/// What one call is answered by.
pub const Call = struct {
    arena: std.heap.ArenaAllocator,
    data: []const u8 = "",
    kind: wasmhost.Kind = .direct,
    sender: wasmhost.Id = @splat(0),
    channel: []const u8 = "",
    at: i64 = 0,
    sequence: u64 = 0,
    denyPublish: ?*const fn (channel: []const u8) bool = null,
    denySend: ?*const fn (to: *const wasmhost.Id) bool = null,

    /// What publish and send answered when the event was applied, in order.
    said: std.ArrayList(i32) = .empty,
    asked: usize = 0,
    random: u64 = 0,
    fail_text: []const u8 = "",
    outputs: std.ArrayList([]const u8) = .empty,
    logs: std.ArrayList([]const u8) = .empty,
    effects: std.ArrayList(Effect) = .empty,

    /// Makes it answer again as it did, with nothing put out yet.
    pub fn again(c: *Call) void {
        c.asked = 0;
        c.random = c.sequence;
        c.outputs = .empty;
        c.logs = .empty;
        c.effects = .empty;
    }

    pub fn copy(c: *Call, bytes: []const u8) []const u8 {
        return c.arena.allocator().dupe(u8, bytes) catch @panic("out of memory");
    }

    fn add(c: *Call, list: anytype, item: anytype) void {
        list.append(c.arena.allocator(), item) catch @panic("out of memory");
    }

    /// Takes an effect, unless it is refused.
    fn take(c: *Call, e: Effect, size: usize, bad: bool, refused: bool) i32 {
        const code: i32 = if (c.asked < c.said.items.len)
            c.said.items[c.asked]
        else if (bad) invalid else if (size > max_payload) too_large else if (refused) denied else done;
        if (c.asked == c.said.items.len) c.add(&c.said, code);
        c.asked += 1;
        if (code == done) c.add(&c.effects, e);
        return code;
    }
};

/// The call that runs.
pub var current: ?*Call = null;

fn call() *Call {
    return current orelse @panic("there is no host: a daemon runs under wasmhost, or in a test under wasmhost.sdktest");
}

pub fn emit(ptr: [*]const u8, len: usize) void {
    const c = call();
    c.add(&c.outputs, c.copy(ptr[0..len]));
}

pub fn fail(ptr: [*]const u8, len: usize) void {
    const c = call();
    c.fail_text = c.copy(ptr[0..len]);
}

pub fn log(_: i32, ptr: [*]const u8, len: usize) void {
    const c = call();
    c.add(&c.logs, c.copy(ptr[0..len]));
}

pub fn event_origin() u64 {
    const sender = call().sender;
    if (std.mem.allEqual(u8, &sender, 0)) return 0;
    return std.mem.readInt(u64, sender[0..8], .little) | 1;
}

pub fn event_sequence() u64 {
    return call().sequence;
}

pub fn event_time() i64 {
    return call().at;
}

pub fn event_kind() u32 {
    return @intFromEnum(call().kind);
}

pub fn event_sender(ptr: [*]u8) void {
    @memcpy(ptr[0..32], &call().sender);
}

pub fn event_channel(ptr: [*]u8, cap: usize) usize {
    const name = call().channel;
    const size = @min(name.len, cap);
    @memcpy(ptr[0..size], name[0..size]);
    return name.len;
}

pub fn daemon_id(ptr: [*]u8) void {
    @memcpy(ptr[0..32], &self);
}

/// Fills from a stream that follows from the event's number (splitmix64).
pub fn random(ptr: [*]u8, len: usize) void {
    const c = call();
    for (ptr[0..len]) |*byte| {
        c.random +%= 0x9e3779b97f4a7c15;
        var z = (c.random ^ c.random >> 30) *% 0xbf58476d1ce4e5b9;
        z = (z ^ z >> 27) *% 0x94d049bb133111eb;
        byte.* = @truncate(z ^ z >> 31);
    }
}

pub fn publish(channel: [*]const u8, channel_len: usize, ptr: [*]const u8, len: usize) i32 {
    const c = call();
    const name = c.copy(channel[0..channel_len]);
    const e: Effect = .{ .publish = .{ .channel = name, .data = c.copy(ptr[0..len]) } };
    const refused = if (c.denyPublish) |denies| denies(name) else false;
    return c.take(e, len, name.len == 0 or name.len > 255, refused);
}

pub fn send(id: [*]const u8, ptr: [*]const u8, len: usize) i32 {
    const c = call();
    const to: wasmhost.Id = id[0..32].*;
    const e: Effect = .{ .send = .{ .to = to, .data = c.copy(ptr[0..len]) } };
    const refused = if (c.denySend) |denies| denies(&to) else false;
    return c.take(e, len, std.mem.allEqual(u8, &to, 0), refused);
}

pub fn timer(at: i64, ptr: [*]const u8, len: usize) i64 {
    const c = call();
    if (at <= 0) return -invalid;
    if (len > max_payload) return -too_large;
    const number: i64 = @intCast(c.sequence << 12 | (c.effects.items.len + 1));
    c.add(&c.effects, Effect{ .timer = .{ .number = number, .at = at, .data = c.copy(ptr[0..len]) } });
    return number;
}

pub fn timer_cancel(number: i64) void {
    const c = call();
    c.add(&c.effects, Effect{ .cancel = number });
}
