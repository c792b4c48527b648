//! Write wasmhost daemons in Zig (contract version 1).
//!
//! A daemon is a struct with a function process, which takes an Event. Export it
//! from the root source file:
//!
//!     const wasmhost = @import("wasmhost");
//!     pub const panic = wasmhost.panic;
//!     comptime {
//!         wasmhost.daemon(Counter);
//!     }
//!
//! It may have init(config), snapshot() with restore(state), and
//! `pub const stateless = true`. Their types are checked when it is compiled.

const std = @import("std");
const in_module = @import("builtin").target.cpu.arch.isWasm();

/// Runs daemons in zig test. In a module there is none of it.
pub const sdktest = if (in_module) struct {} else @import("sdktest.zig");

/// The version of the contract that this package follows.
pub const abi_version = 1;

const host = if (!in_module) @import("sdkhost.zig") else struct {
    extern "wasmhost" fn emit(ptr: [*]const u8, len: usize) void;
    extern "wasmhost" fn fail(ptr: [*]const u8, len: usize) void;
    extern "wasmhost" fn log(level: i32, ptr: [*]const u8, len: usize) void;
    extern "wasmhost" fn event_origin() u64;
    extern "wasmhost" fn event_sequence() u64;
    extern "wasmhost" fn event_time() i64;
    extern "wasmhost" fn event_sender(ptr: [*]u8) void;
    extern "wasmhost" fn event_channel(ptr: [*]u8, cap: usize) usize;
    extern "wasmhost" fn daemon_id(ptr: [*]u8) void;
    extern "wasmhost" fn random(ptr: [*]u8, len: usize) void;
    extern "wasmhost" fn event_kind() u32;
    extern "wasmhost" fn publish(channel: [*]const u8, channel_len: usize, ptr: [*]const u8, len: usize) i32;
    extern "wasmhost" fn send(id: [*]const u8, ptr: [*]const u8, len: usize) i32;
    extern "wasmhost" fn timer(at: i64, ptr: [*]const u8, len: usize) i64;
    extern "wasmhost" fn timer_cancel(number: i64) void;
    extern "wasmhost" fn ask(id: [*]const u8, ptr: [*]const u8, len: usize, deadline: i64) i64;
    extern "wasmhost" fn answer(call: u64, ptr: [*]const u8, len: usize) i32;
    extern "wasmhost" fn refuse(call: u64, ptr: [*]const u8, len: usize) i32;
    extern "wasmhost" fn event_call() u64;
    extern "wasmhost" fn event_status() u32;
};

/// An identity: an ed25519 public key. All zeros is nobody.
pub const Id = [32]u8;

/// One event. What it knows of its sender is asked of the host when it is needed.
pub const Event = struct {
    /// The event's bytes, valid until process returns.
    data: []const u8,

    /// Which event this is: 1 for the first that the daemon applies.
    pub fn sequence(_: Event) u64 {
        return host.event_sequence();
    }

    /// When the event was recorded, in nanoseconds since the Unix epoch.
    pub fn time(_: Event) i64 {
        return host.event_time();
    }

    /// The sender's identity; zeros when the event is anonymous.
    pub fn sender(_: Event) Id {
        var id: Id = undefined;
        host.event_sender(&id);
        return id;
    }

    /// The sender's origin hash; 0 when the event is anonymous.
    pub fn origin(_: Event) u64 {
        return host.event_origin();
    }

    /// The channel that the event came by, in buffer; empty for a direct event.
    pub fn channel(_: Event, buffer: *[255]u8) []const u8 {
        return buffer[0..@min(host.event_channel(buffer, buffer.len), buffer.len)];
    }
};

/// Emits one output. The bytes are copied at once.
pub fn emit(data: []const u8) void {
    host.emit(data.ptr, data.len);
}

pub const Level = enum(i32) { debug = 0, info = 1, warn = 2, err = 3 };

/// Writes a line to the daemon's log.
pub fn log(level: Level, text: []const u8) void {
    host.log(@intFromEnum(level), text.ptr, text.len);
}

/// When the event was recorded, in nanoseconds since the Unix epoch: the daemon's
/// only clock.
pub fn now() i64 {
    return host.event_time();
}

/// Fills out from the event's random stream: the same again on a replay.
pub fn random(out: []u8) void {
    host.random(out.ptr, out.len);
}

/// The daemon's own identity.
pub fn self() Id {
    var id: Id = undefined;
    host.daemon_id(&id);
    return id;
}

/// What an event is to its daemon: sent to it; of a channel that it is subscribed to; a
/// gap in one, 16 bytes: the sequences of the first and the last lost event,
/// little-endian, zeros where they are not known; a timer of its own; sent by another
/// daemon, which is proven; asked by another daemon, which is proven and waits for an
/// answer; a call of its own that has ended; no event, but a question, in query.
pub const Kind = enum(u32) { direct = 0, channel = 1, gap = 2, timer = 3, daemon = 4, asked = 5, reply = 6, query = 7, _ };

/// What the event is.
pub fn kind() Kind {
    return @enumFromInt(host.event_kind());
}

/// Why something is not published, sent or set: the daemon was not granted that when it
/// was spawned; no channel, daemon or time is like that; more than 1 MiB.
pub const Refused = error{ Denied, Invalid, TooLarge };

fn allowed(code: i64) Refused!void {
    return switch (code) {
        0 => {},
        1 => error.Denied,
        3 => error.TooLarge,
        else => error.Invalid,
    };
}

/// Publishes an event on a channel, once this event is durable.
pub fn publish(channel: []const u8, data: []const u8) Refused!void {
    return allowed(host.publish(channel.ptr, channel.len, data.ptr, data.len));
}

/// Sends an event to a daemon, wherever it is, once this event is durable.
pub fn send(to: *const Id, data: []const u8) Refused!void {
    return allowed(host.send(to, data.ptr, data.len));
}

/// A timer that was set.
pub const Timer = struct {
    number: i64,

    /// Makes the timer not fire. One that has fired is no error.
    pub fn cancel(t: Timer) void {
        host.timer_cancel(t.number);
    }
};

/// Has the daemon get data as an event of kind timer at that time, in nanoseconds since
/// the Unix epoch: once, and late rather than never.
pub fn timer(at: i64, data: []const u8) Refused!Timer {
    const number = host.timer(at, data.ptr, data.len);
    if (number < 0) try allowed(-number);
    return .{ .number = number };
}

/// timer at so many nanoseconds after this event.
pub fn timerAfter(ns: i64, data: []const u8) Refused!Timer {
    return timer(now() +| ns, data);
}

/// How a call ended: it was answered; the other daemon refused it, or failed on it; there is
/// no such daemon; the deadline passed first; this daemon is a fork of the one that asked.
pub const Status = enum(u32) { answered = 0, refused = 1, failed = 2, no_such_daemon = 3, timed_out = 4, forked = 5, _ };

/// A call between daemons: to who asked it is what ask returned, to who is asked what
/// eventCall returns. 0 is none.
pub const Call = struct {
    number: u64,

    /// Answers what another daemon asked, in that event or in a later one. The first answer
    /// counts.
    pub fn answer(c: Call, data: []const u8) Refused!void {
        return allowed(host.answer(c.number, data.ptr, data.len));
    }

    /// Answers with the reason why there is no answer.
    pub fn refuse(c: Call, reason: []const u8) Refused!void {
        return allowed(host.refuse(c.number, reason.ptr, reason.len));
    }
};

/// Sends an event of kind asked to a daemon, which answers it; as send. How the call ends
/// comes as an event of kind reply with that eventCall. The deadline is in nanoseconds since
/// the Unix epoch; 0: it never passes.
pub fn ask(to: *const Id, data: []const u8, deadline: i64) Refused!Call {
    const number = host.ask(to, data.ptr, data.len, deadline);
    if (number < 0) try allowed(-number);
    return .{ .number = @intCast(number) };
}

/// Of an event of kind asked, what to answer; of one of kind reply, the call that has ended.
pub fn eventCall() Call {
    return .{ .number = host.event_call() };
}

/// How the call ended that an event of kind reply is of; its data is the answer, or why
/// there is none.
pub fn eventStatus() Status {
    return @enumFromInt(host.event_status());
}

pub const Error = error{Failed};

var failure_code: i32 = 0;

/// Gives the error that this call returns a code and a text: return
/// fail(1, "no such key"). Another error has code 1, and its name for a text.
pub fn fail(code: i32, text: []const u8) Error {
    host.fail(text.ptr, text.len);
    failure_code = code;
    return error.Failed;
}

/// Ends the call with a trap that carries the text. It is what @panic, and a
/// failed safety check, do where the root source file says `pub const panic =
/// wasmhost.panic`.
pub const panic = std.debug.FullPanic(struct {
    fn call(text: []const u8, _: ?usize) noreturn {
        host.fail(text.ptr, text.len);
        @trap();
    }
}.call);

/// Memory for as long as the daemon lives. In tests it is the machine's.
pub const allocator = if (in_module) std.heap.wasm_allocator else std.heap.page_allocator;

var first_buffer: [4096]u8 = undefined;
var input: []u8 = &first_buffer;

fn alloc(len: usize) callconv(.c) ?[*]u8 {
    if (len > input.len) {
        const size = std.math.ceilPowerOfTwo(usize, len) catch return null;
        const larger = allocator.alloc(u8, size) catch return null;
        if (input.ptr != @as([*]u8, &first_buffer)) allocator.free(input);
        input = larger;
    }
    return input.ptr;
}

fn marker() callconv(.c) void {}

/// The code that fail was given last. For sdktest.
pub fn failureCode() i32 {
    return if (failure_code == 0) 1 else failure_code;
}

/// The code of a call's result.
fn answer(result: anytype) i32 {
    if (result) |_| {
        return 0;
    } else |err| {
        const failed: anyerror = err;
        if (failed != error.Failed) {
            const name = @errorName(failed);
            host.fail(name.ptr, name.len);
            return 1;
        }
        return failureCode();
    }
}

/// Exports Daemon as the module's daemon.
pub fn daemon(comptime Daemon: type) void {
    const stateless = @hasDecl(Daemon, "stateless") and Daemon.stateless;
    const hooks = @hasDecl(Daemon, "snapshot");
    if (hooks != @hasDecl(Daemon, "restore")) @compileError("a daemon has both of snapshot and restore, or neither");
    if (hooks and stateless) @compileError("a daemon is stateless, or has snapshot and restore, not both");
    if (!in_module) return;

    const glue = struct {
        var state: Daemon = .{};

        fn process(ptr: [*]const u8, len: usize) callconv(.c) i32 {
            return answer(state.process(.{ .data = ptr[0..len] }));
        }

        fn init(ptr: [*]const u8, len: usize) callconv(.c) i32 {
            return answer(state.init(ptr[0..len]));
        }

        fn snapshot() callconv(.c) u64 {
            const result: anyerror![]const u8 = state.snapshot();
            const bytes = result catch |err| {
                _ = answer(@as(anyerror!void, err));
                return std.math.maxInt(u64);
            };
            return @as(u64, @intFromPtr(bytes.ptr)) << 32 | bytes.len;
        }

        fn restore(ptr: [*]const u8, len: usize) callconv(.c) i32 {
            return answer(state.restore(ptr[0..len]));
        }

        fn query(ptr: [*]const u8, len: usize) callconv(.c) u64 {
            const result: anyerror![]const u8 = state.query(ptr[0..len]);
            const bytes = result catch |err| {
                _ = answer(@as(anyerror!void, err));
                return std.math.maxInt(u64);
            };
            return @as(u64, @intFromPtr(bytes.ptr)) << 32 | bytes.len;
        }
    };
    @export(&marker, .{ .name = "wasmhost_abi_v1" });
    @export(&alloc, .{ .name = "wasmhost_alloc" });
    @export(&glue.process, .{ .name = "wasmhost_process" });
    if (@hasDecl(Daemon, "init")) @export(&glue.init, .{ .name = "wasmhost_init" });
    if (@hasDecl(Daemon, "query")) @export(&glue.query, .{ .name = "wasmhost_query" });
    if (stateless) @export(&marker, .{ .name = "wasmhost_stateless" });
    if (hooks) {
        @export(&glue.snapshot, .{ .name = "wasmhost_snapshot" });
        @export(&glue.restore, .{ .name = "wasmhost_restore" });
    }
}
