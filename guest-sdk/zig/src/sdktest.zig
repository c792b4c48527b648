//! Runs a daemon in zig test, under a host that keeps everything in memory:
//!
//!     test "it numbers events" {
//!         var d = sdktest.spawn(Numbers, "");
//!         defer d.deinit();
//!         try d.send("hello").says(&.{"1 hello"});
//!     }
//!
//! An event that fails leaves no trace: the daemon is made again, and gets the events
//! before once more, without effects. So what it keeps is in its struct, and what that
//! points to, not in variables of a file. Zig catches no panic: one ends the tests with
//! its trace; wasmhost run --replay, which runs the module itself, has transcripts of
//! those (`"fails":{}`).

const std = @import("std");
const wasmhost = @import("wasmhost.zig");
const sdkhost = @import("sdkhost.zig");
const Call = sdkhost.Call;

pub const Effect = sdkhost.Effect;
pub const Failure = sdkhost.Failure;

/// The identity of each daemon.
pub const self = sdkhost.self;

/// When a daemon is spawned: 2000-01-01 UTC, in nanoseconds since the Unix epoch.
pub const begin: i64 = 946_684_800_000_000_000;

/// What came of one event, until the daemon's deinit. Where it failed nothing else came
/// of it.
pub const Answer = struct {
    outputs: []const []const u8 = &.{},
    effects: []const Effect = &.{},
    logs: []const []const u8 = &.{},
    failure: ?Failure = null,

    /// Expects that it succeeded, with these outputs.
    pub fn says(a: Answer, want: []const []const u8) !void {
        if (a.failure) |f| {
            std.debug.print("it fails with code {d}, {s}\n", .{ f.code, f.text });
            return error.TestUnexpectedResult;
        }
        try std.testing.expectEqual(want.len, a.outputs.len);
        for (want, a.outputs) |w, got| try std.testing.expectEqualStrings(w, got);
    }

    /// Expects that it failed with this code.
    pub fn fails(a: Answer, code: i32) !void {
        const f = a.failure orelse return error.TestExpectedFailure;
        try std.testing.expectEqual(code, f.code);
    }
};

const Alarm = struct { number: i64, at: i64, data: []const u8 };

/// Makes a daemon. Where its init fails, the tests end.
pub fn spawn(comptime D: type, config: []const u8) Daemon(D) {
    var d: Daemon(D) = .{ .config = keep(config) };
    if (d.make()) |f| std.debug.panic("spawning the daemon: code {d}, {s}", .{ f.code, f.text });
    return d;
}

fn keep(bytes: []const u8) []u8 {
    return sdkhost.memory.dupe(u8, bytes) catch @panic("out of memory");
}

fn newCall() *Call {
    const c = sdkhost.memory.create(Call) catch @panic("out of memory");
    c.* = .{ .arena = .init(sdkhost.memory) };
    return c;
}

/// A daemon in a test.
pub fn Daemon(comptime D: type) type {
    return struct {
        const Self = @This();

        /// What publish and send are asked: true is error.Denied. null denies nothing.
        denyPublish: ?*const fn (channel: []const u8) bool = null,
        denySend: ?*const fn (to: *const wasmhost.Id) bool = null,

        config: []u8,
        state: ?[]u8 = null, // that it was restored from
        restored: u64 = 0, // after so many events
        restored_at: i64 = begin,
        past: std.ArrayList(*Call) = .empty, // that were applied since
        failed: std.ArrayList(*Call) = .empty,
        code: D = .{},
        applied: u64 = 0,
        time: i64 = begin,
        alarms: std.ArrayList(Alarm) = .empty, // by time, then number

        /// Frees what the answers have; not what the daemon has.
        pub fn deinit(d: *Self) void {
            for ([_]*std.ArrayList(*Call){ &d.past, &d.failed }) |list| {
                for (list.items) |c| {
                    c.arena.deinit();
                    sdkhost.memory.destroy(c);
                }
                list.deinit(sdkhost.memory);
            }
            d.alarms.deinit(sdkhost.memory);
            sdkhost.memory.free(d.config);
            if (d.state) |state| sdkhost.memory.free(state);
        }

        /// Has the daemon apply an event that was sent to it.
        pub fn send(d: *Self, data: []const u8) Answer {
            return d.apply(.direct, @splat(0), "", data);
        }

        /// Has the daemon apply an event that another daemon sent.
        pub fn from(d: *Self, sender: *const wasmhost.Id, data: []const u8) Answer {
            return d.apply(.daemon, sender.*, "", data);
        }

        /// Has the daemon apply an event of a channel. A publisher of null is the owner of
        /// the channel's node.
        pub fn channel(d: *Self, name: []const u8, publisher: ?*const wasmhost.Id, data: []const u8) Answer {
            return d.apply(.channel, if (publisher) |p| p.* else @splat(0), name, data);
        }

        /// Has the daemon apply a gap in a channel: first and last are lost.
        pub fn gap(d: *Self, name: []const u8, first: u64, last: u64) Answer {
            var data: [16]u8 = undefined;
            std.mem.writeInt(u64, data[0..8], first, .little);
            std.mem.writeInt(u64, data[8..16], last, .little);
            return d.apply(.gap, @splat(0), name, &data);
        }

        /// Lets nanoseconds pass, and returns what came of each timer that was due, in
        /// order. The caller owns the list: sdktest.free.
        pub fn advance(d: *Self, ns: i64) []Answer {
            const until = d.time + ns;
            var answers: std.ArrayList(Answer) = .empty;
            while (d.alarms.items.len > 0 and d.alarms.items[0].at <= until) {
                const due = d.alarms.orderedRemove(0);
                d.time = @max(d.time, due.at);
                answers.append(sdkhost.memory, d.apply(.timer, self, "", due.data)) catch @panic("out of memory");
            }
            d.time = until;
            return answers.toOwnedSlice(sdkhost.memory) catch @panic("out of memory");
        }

        /// The daemon's time, in nanoseconds since the Unix epoch.
        pub fn now(d: *const Self) i64 {
            return d.time;
        }

        /// How many timers are set.
        pub fn timers(d: *const Self) usize {
            return d.alarms.items.len;
        }

        /// Carries the state to a daemon of the type N, by snapshot and restore, as
        /// wasmhost upgrade does, and returns it; the old one goes on. Where that fails,
        /// why is in failure.
        pub fn upgrade(d: *Self, comptime N: type) union(enum) { daemon: Daemon(N), failure: Failure } {
            const c = d.newFailed(d.time, d.applied);
            sdkhost.current = c;
            defer sdkhost.current = null;
            const result: anyerror![]const u8 = d.code.snapshot();
            const state = result catch |err| {
                const failure = failureOf(c, err);
                d.undo();
                return .{ .failure = failure };
            };

            var next: Daemon(N) = .{ .config = keep(""), .state = keep(state), .restored = d.applied, .restored_at = d.time };
            next.denyPublish = d.denyPublish;
            next.denySend = d.denySend;
            next.applied = d.applied;
            next.time = d.time;
            if (next.make()) |failure| return .{ .failure = failure };
            for (d.alarms.items) |a| {
                next.alarms.append(sdkhost.memory, .{ .number = a.number, .at = a.at, .data = keep(a.data) }) catch @panic("out of memory");
            }
            return .{ .daemon = next };
        }

        /// Makes the daemon as it was before its past. Returns why that fails.
        fn make(d: *Self) ?Failure {
            d.code = .{};
            const c = d.newFailed(d.restored_at, d.restored);
            sdkhost.current = c;
            defer sdkhost.current = null;
            if (d.state) |state| {
                d.code.restore(state) catch |err| return failureOf(c, err);
            } else if (@hasDecl(D, "init")) {
                d.code.init(d.config) catch |err| return failureOf(c, err);
            } else if (d.config.len > 0) {
                return .{ .code = 2, .text = "the daemon takes no configuration" };
            }
            return null;
        }

        /// A call that is no event, or failed: it is there until deinit.
        fn newFailed(d: *Self, at: i64, sequence: u64) *Call {
            const c = newCall();
            c.at = at;
            c.sequence = sequence;
            d.failed.append(sdkhost.memory, c) catch @panic("out of memory");
            return c;
        }

        /// Runs an event, and undoes it where it fails.
        fn apply(d: *Self, kind: wasmhost.Kind, sender: wasmhost.Id, name: []const u8, data: []const u8) Answer {
            const c = newCall();
            c.data = c.copy(data);
            c.kind = kind;
            c.sender = sender;
            c.channel = c.copy(name);
            c.at = d.time;
            c.sequence = d.applied + 1;
            c.denyPublish = d.denyPublish;
            c.denySend = d.denySend;
            d.run(c) catch |err| {
                const failure = failureOf(c, err);
                d.failed.append(sdkhost.memory, c) catch @panic("out of memory");
                d.undo();
                return .{ .failure = failure };
            };

            d.applied += 1;
            d.past.append(sdkhost.memory, c) catch @panic("out of memory");
            for (c.effects.items) |e| switch (e) {
                .timer => |t| d.setAlarm(.{ .number = t.number, .at = t.at, .data = t.data }),
                .cancel => |number| d.cancelAlarm(number),
                else => {},
            };
            return .{ .outputs = c.outputs.items, .effects = c.effects.items, .logs = c.logs.items };
        }

        fn run(d: *Self, c: *Call) !void {
            c.again();
            sdkhost.current = c;
            defer sdkhost.current = null;
            const data = keep(c.data); // it is not the event's once process returns
            defer sdkhost.memory.free(data);
            const result: anyerror!void = d.code.process(.{ .data = data });
            return result;
        }

        fn setAlarm(d: *Self, a: Alarm) void {
            var i = d.alarms.items.len;
            while (i > 0 and d.alarms.items[i - 1].at > a.at) i -= 1;
            d.alarms.insert(sdkhost.memory, i, a) catch @panic("out of memory");
        }

        fn cancelAlarm(d: *Self, number: i64) void {
            for (d.alarms.items, 0..) |a, i| {
                if (a.number == number) {
                    _ = d.alarms.orderedRemove(i);
                    return;
                }
            }
        }

        /// Makes the daemon again, with its past.
        fn undo(d: *Self) void {
            if (d.make()) |f| std.debug.panic("making the daemon again: {s}", .{f.text});
            for (d.past.items) |c| d.run(c) catch |err| {
                std.debug.panic("event {d} was applied, and fails when it is applied again: {t}; what the daemon keeps does not follow from its events", .{ c.sequence, err });
            };
        }
    };
}

/// Frees what advance returned.
pub fn free(answers: []Answer) void {
    sdkhost.memory.free(answers);
}

fn failureOf(c: *Call, err: anyerror) Failure {
    if (err == error.Failed) return .{ .code = wasmhost.failureCode(), .text = c.fail_text };
    return .{ .code = 1, .text = @errorName(err) };
}
