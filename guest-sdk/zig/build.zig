const std = @import("std");

/// Offers the module "wasmhost", and builds the examples into zig-out/bin.
pub fn build(b: *std.Build) void {
    const module = b.addModule("wasmhost", .{ .root_source_file = b.path("src/wasmhost.zig") });
    for ([_][]const u8{ "echo", "probe", "counter", "wordcount" }) |name| {
        const exe = b.addExecutable(.{ .name = name, .root_module = b.createModule(.{
            .root_source_file = b.path(b.fmt("examples/{s}.zig", .{name})),
            .target = b.resolveTargetQuery(.{ .cpu_arch = .wasm32, .os_tag = .freestanding }),
            .optimize = .ReleaseSmall,
            .strip = true,
            .imports = &.{.{ .name = "wasmhost", .module = module }},
        }) });
        exe.entry = .disabled;
        exe.rdynamic = true;
        exe.stack_size = 16384;
        b.installArtifact(exe);
    }
}
