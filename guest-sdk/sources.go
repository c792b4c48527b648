// Package guestsdk holds the sources of the guest SDKs that are not in Go, for
// wasmhost new to put into projects. Those in Go are package sdk's own.
package guestsdk

import "embed"

// Sources are the SDKs' files, each under the folder of its language.
//
//go:embed c/*.h c/README.md
//go:embed rust/Cargo.toml rust/README.md rust/src
//go:embed assemblyscript/package.json assemblyscript/README.md assemblyscript/assembly
//go:embed zig/build.zig zig/build.zig.zon zig/README.md zig/src
var Sources embed.FS
