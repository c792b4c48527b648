//go:build !wasip1

package sdk

import "embed"

// Sources are the files of this module, but for its go.mod and this one, for
// wasmhost new to put into projects.
//
//go:embed sdk.go guest.go hooks/hooks.go stateless/stateless.go
var Sources embed.FS
