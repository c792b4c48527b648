// Package guestsdk holds the sources of the guest SDKs that are not in Go, for
// wasmhost new to put into projects. Those in Go are package sdk's own.
package guestsdk

import "embed"

// Sources are the SDKs' files, each under the folder of its language.
//
//go:embed c/wasmhost.h rust/Cargo.toml rust/src assemblyscript/package.json assemblyscript/assembly zig/build.zig zig/build.zig.zon zig/src
var Sources embed.FS
