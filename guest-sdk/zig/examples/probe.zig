//! probe does what abi/vectors.md says, for the golden vectors.
const std = @import("std");
const wasmhost = @import("wasmhost");

pub const panic = wasmhost.panic;

fn emitNumber(n: anytype) void {
    var text: [20]u8 = undefined;
    wasmhost.emit(std.fmt.bufPrint(&text, "{d}", .{n}) catch unreachable);
}

fn emitHex(bytes: []const u8) void {
    var text: [64]u8 = undefined;
    for (bytes, 0..) |b, i| {
        text[2 * i] = "0123456789abcdef"[b >> 4];
        text[2 * i + 1] = "0123456789abcdef"[b & 15];
    }
    wasmhost.emit(text[0 .. 2 * bytes.len]);
}

const Command = enum { count, emit, event, self, random, log, fail, panic, kind, publish, secret, misnamed, reply, timer, cancel, undone };

fn emitAnswer(answer: wasmhost.Refused!void) void {
    emitNumber(if (answer) |_| @as(u8, 0) else |err| switch (err) {
        error.Denied => @as(u8, 1),
        error.Invalid => 2,
        error.TooLarge => 3,
    });
}

const Probe = struct {
    count: u64 = 0,
    state: [8]u8 = undefined,

    pub fn init(p: *Probe, config: []const u8) !void {
        if (config.len == 0) return;
        p.count = std.fmt.parseInt(u64, config, 10) catch return wasmhost.fail(2, "configuration is a number");
    }

    pub fn process(p: *Probe, event: wasmhost.Event) !void {
        const command = std.meta.stringToEnum(Command, event.data) orelse return emitNumber(event.data.len);
        switch (command) {
            .count => {
                p.count += 1;
                emitNumber(p.count);
            },
            .emit => {
                wasmhost.emit("a");
                wasmhost.emit("");
                wasmhost.emit("b");
            },
            .event => {
                var channel: [255]u8 = undefined;
                emitNumber(event.sequence());
                emitNumber(event.time());
                emitNumber(event.origin());
                emitHex(&event.sender());
                wasmhost.emit(event.channel(&channel));
            },
            .self => emitHex(&wasmhost.self()),
            .random => {
                var bytes: [16]u8 = undefined;
                wasmhost.random(&bytes);
                emitHex(&bytes);
            },
            .log => {
                wasmhost.log(.debug, "debug");
                wasmhost.log(.info, "info");
                wasmhost.log(.warn, "warn");
                wasmhost.log(.err, "error");
            },
            .kind => emitNumber(@intFromEnum(wasmhost.kind())),
            .publish => emitAnswer(wasmhost.publish("news", "hello")),
            .secret => emitAnswer(wasmhost.publish("secret", "hello")),
            .misnamed => emitAnswer(wasmhost.publish("No such channel", "hello")),
            .reply => emitAnswer(wasmhost.send(&event.sender(), "hi")),
            .timer, .cancel => {
                const timer = try wasmhost.timerAfter(std.time.ns_per_hour, "ring");
                if (command == .cancel) timer.cancel();
                emitNumber(@as(u64, @intCast(timer.number)));
            },
            .undone => {
                try wasmhost.publish("news", "hello");
                return wasmhost.fail(7, "undone");
            },
            .fail => {
                p.count += 1;
                return wasmhost.fail(7, "failed: ä");
            },
            .panic => {
                p.count += 1;
                @panic("at the disco");
            },
        }
    }

    pub fn snapshot(p: *Probe) ![]const u8 {
        std.mem.writeInt(u64, &p.state, p.count, .little);
        return &p.state;
    }

    pub fn restore(p: *Probe, state: []const u8) !void {
        if (state.len != 8) return wasmhost.fail(3, "the state has 8 bytes");
        p.count = std.mem.readInt(u64, state[0..8], .little);
    }
};

comptime {
    wasmhost.daemon(Probe);
}
