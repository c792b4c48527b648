//go:build wasip1

// Command counter counts its events and emits the count. Configuration
// {"start":N} sets where it starts; the event "fail" fails.
package main

import (
	"encoding/binary"
	"encoding/json"
	"strconv"

	"wasmhost.example/guest-sdk/go"
	"wasmhost.example/guest-sdk/go/hooks"
)

type counter struct{ count uint64 }

func (c *counter) Init(config []byte) error {
	if len(config) == 0 {
		return nil
	}
	var v struct{ Start *uint64 }
	if err := json.Unmarshal(config, &v); err != nil || v.Start == nil {
		return sdk.Fail(2, `configuration must be {"start":N}`)
	}
	c.count = *v.Start
	return nil
}

func (c *counter) Process(event sdk.Event) error {
	if event.Text() == "fail" {
		return sdk.Fail(1, "asked to fail")
	}
	c.count++
	sdk.EmitText(strconv.FormatUint(c.count, 10))
	return nil
}

func (c *counter) Snapshot() ([]byte, error) {
	return binary.LittleEndian.AppendUint64(nil, c.count), nil
}

func (c *counter) Restore(state []byte) error {
	if len(state) != 8 {
		return sdk.Fail(3, "a counter's state has 8 bytes")
	}
	c.count = binary.LittleEndian.Uint64(state)
	return nil
}

func init() { hooks.Register(&counter{}) }

func main() {}
