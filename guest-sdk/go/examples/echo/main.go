//go:build wasip1

// Command echo emits every event as it came.
package main

import (
	"wasmhost.example/guest-sdk/go"
	"wasmhost.example/guest-sdk/go/stateless"
)

type echo struct{}

func (echo) Process(event sdk.Event) error {
	sdk.Emit(event.Data)
	return nil
}

func init() { stateless.Register(echo{}) }

func main() {}
