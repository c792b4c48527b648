//go:build !wasip1

package sdk

import "embed"

// Sources are the files of this module, without its examples, for wasmhost new to put
// into projects; it leaves out this file and tests.
//
//go:embed go.mod README.md *.go */*.go
var Sources embed.FS
