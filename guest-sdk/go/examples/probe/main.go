//go:build wasip1

// Command probe does what abi/vectors.md says, for the golden vectors.
package main

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"time"

	"wasmhost.example/guest-sdk/go"
	"wasmhost.example/guest-sdk/go/hooks"
)

type probe struct{ count uint64 }

func (p *probe) Init(config []byte) (err error) {
	if len(config) > 0 {
		if p.count, err = strconv.ParseUint(string(config), 10, 64); err != nil {
			return sdk.Fail(2, "configuration is a number")
		}
	}
	return nil
}

func emitNumber(n uint64) { sdk.EmitText(strconv.FormatUint(n, 10)) }

func emitAnswer(err error) {
	switch err {
	case nil:
		emitNumber(0)
	case sdk.ErrDenied:
		emitNumber(1)
	case sdk.ErrInvalid:
		emitNumber(2)
	default:
		emitNumber(3)
	}
}

func (p *probe) Process(event sdk.Event) error {
	switch event.Text() {
	case "count":
		p.count++
		emitNumber(p.count)
	case "emit":
		sdk.EmitText("a")
		sdk.Emit(nil)
		sdk.EmitText("b")
	case "event":
		sender := event.Sender()
		emitNumber(event.Sequence())
		emitNumber(uint64(event.Time().UnixNano()))
		emitNumber(event.Origin())
		sdk.EmitText(hex.EncodeToString(sender[:]))
		sdk.EmitText(event.Channel())
	case "self":
		id := sdk.DaemonID()
		sdk.EmitText(hex.EncodeToString(id[:]))
	case "random":
		bytes := make([]byte, 16)
		sdk.Random(bytes)
		sdk.EmitText(hex.EncodeToString(bytes))
	case "log":
		sdk.Log(sdk.Debug, "debug")
		sdk.Log(sdk.Info, "info")
		sdk.Log(sdk.Warn, "warn")
		sdk.Log(sdk.Error, "error")
	case "kind":
		emitNumber(uint64(sdk.EventKind()))
	case "publish":
		emitAnswer(sdk.Publish("news", []byte("hello")))
	case "secret":
		emitAnswer(sdk.Publish("secret", []byte("hello")))
	case "misnamed":
		emitAnswer(sdk.Publish("No such channel", []byte("hello")))
	case "reply":
		emitAnswer(sdk.Send(event.Sender(), []byte("hi")))
	case "timer", "cancel":
		timer, err := sdk.After(time.Hour, []byte("ring"))
		if err != nil {
			return err
		}
		if event.Text() == "cancel" {
			timer.Cancel()
		}
		emitNumber(uint64(timer))
	case "undone":
		if err := sdk.Publish("news", []byte("hello")); err != nil {
			return err
		}
		return sdk.Fail(7, "undone")
	case "fail":
		p.count++
		return sdk.Fail(7, "failed: ä")
	case "panic":
		p.count++
		panic("at the disco")
	default:
		emitNumber(uint64(len(event.Data)))
	}
	return nil
}

func (p *probe) Snapshot() ([]byte, error) {
	return binary.LittleEndian.AppendUint64(nil, p.count), nil
}

func (p *probe) Restore(state []byte) error {
	if len(state) != 8 {
		return sdk.Fail(3, "the state has 8 bytes")
	}
	p.count = binary.LittleEndian.Uint64(state)
	return nil
}

func init() { hooks.Register(&probe{}) }

func main() {}
