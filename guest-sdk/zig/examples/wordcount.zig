//! wordcount counts the words of the lines it is sent. A word is a run of ASCII
//! letters and digits, lower-cased. "?totals" emits "word count" lines sorted by
//! word; "?lines" emits how many lines were counted.
const std = @import("std");
const wasmhost = @import("wasmhost");

pub const panic = wasmhost.panic;

const gpa = wasmhost.allocator;
const malformed = "malformed state";

const WordCount = struct {
    lines: u64 = 0,
    words: std.StringHashMapUnmanaged(u64) = .empty,
    text: std.ArrayList(u8) = .empty, // of the last report

    pub fn process(w: *WordCount, event: wasmhost.Event) !void {
        if (std.mem.eql(u8, event.data, "?totals")) {
            w.text.clearRetainingCapacity();
            try w.totals();
            wasmhost.emit(w.text.items);
        } else if (std.mem.eql(u8, event.data, "?lines")) {
            var text: [20]u8 = undefined;
            wasmhost.emit(std.fmt.bufPrint(&text, "{d}", .{w.lines}) catch unreachable);
        } else {
            try w.count(event.data);
        }
    }

    fn count(w: *WordCount, line: []const u8) !void {
        var at: usize = 0;
        while (at < line.len) {
            const start = at;
            while (at < line.len and std.ascii.isAlphanumeric(line[at])) at += 1;
            if (at > start) {
                const word = try std.ascii.allocLowerString(gpa, line[start..at]);
                const entry = try w.words.getOrPut(gpa, word);
                if (entry.found_existing) {
                    gpa.free(word);
                    entry.value_ptr.* += 1;
                } else {
                    entry.value_ptr.* = 1;
                }
            }
            at += 1;
        }
        w.lines += 1;
    }

    fn before(_: void, a: []const u8, b: []const u8) bool {
        return std.mem.order(u8, a, b) == .lt;
    }

    fn number(w: *WordCount, n: u64) !void {
        var text: [20]u8 = undefined;
        try w.text.appendSlice(gpa, std.fmt.bufPrint(&text, "{d}", .{n}) catch unreachable);
    }

    /// Appends a line for each word to text.
    fn totals(w: *WordCount) !void {
        const names = try gpa.alloc([]const u8, w.words.count());
        defer gpa.free(names);
        var keys = w.words.keyIterator();
        for (names) |*name| name.* = keys.next().?.*;
        std.mem.sortUnstable([]const u8, names, {}, before);
        for (names, 0..) |name, i| {
            if (i > 0) try w.text.append(gpa, '\n');
            try w.text.appendSlice(gpa, name);
            try w.text.append(gpa, ' ');
            try w.number(w.words.get(name).?);
        }
    }

    /// The state is the number of lines, a newline, and what ?totals emits.
    pub fn snapshot(w: *WordCount) ![]const u8 {
        w.text.clearRetainingCapacity();
        try w.number(w.lines);
        try w.text.append(gpa, '\n');
        try w.totals();
        return w.text.items;
    }

    pub fn restore(w: *WordCount, state: []const u8) !void {
        var rows = std.mem.splitScalar(u8, state, '\n');
        w.lines = std.fmt.parseInt(u64, rows.first(), 10) catch return wasmhost.fail(3, malformed);
        w.words = .empty;
        const rest = rows.rest();
        if (rows.index == null) return wasmhost.fail(3, malformed);
        if (rest.len == 0) return;
        while (rows.next()) |row| {
            const space = std.mem.indexOfScalar(u8, row, ' ') orelse return wasmhost.fail(3, malformed);
            if (space == 0) return wasmhost.fail(3, malformed);
            for (row[0..space]) |c| {
                if (!std.ascii.isAlphanumeric(c) or std.ascii.isUpper(c)) return wasmhost.fail(3, malformed);
            }
            const n = std.fmt.parseInt(u64, row[space + 1 ..], 10) catch return wasmhost.fail(3, malformed);
            try w.words.put(gpa, try gpa.dupe(u8, row[0..space]), n);
        }
    }
};

comptime {
    wasmhost.daemon(WordCount);
}
