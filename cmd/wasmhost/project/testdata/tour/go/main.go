// Command tour uses everything that the SDK has.
package main

import (
	"crypto/rand"
	"errors"
	mathrand "math/rand"
	"strconv"
	"time"

	sdk "wasmhost.example/guest-sdk/go"
	"wasmhost.example/guest-sdk/go/hooks"
)

type tour struct{ state []byte }

func (*tour) Init(config []byte) error {
	if string(config) != "tour" {
		return errors.New("the configuration is tour")
	}
	return nil
}

func (*tour) Process(event sdk.Event) error {
	sdk.Log(sdk.Info, "an event")
	switch event.Text() {
	case "fail":
		return sdk.Fail(7, "told to")
	case "panic":
		panic("told to")
	case "all":
		sdk.Emit(event.Data)
		if err := all(event); err != nil {
			return err
		}
	}
	if event.Kind() == sdk.Peer {
		if err := sdk.Send(event.Sender(), []byte("s")); err != nil {
			return err
		}
	}
	origin := "-"
	if event.Origin() != 0 {
		origin = "+"
	}
	sdk.EmitText(strconv.FormatUint(event.Sequence(), 10) + strconv.Itoa(int(event.Kind())) + origin + event.Channel())
	return nil
}

func all(event sdk.Event) error {
	if err := sdk.Publish("news", []byte("p")); errors.Is(err, sdk.ErrDenied) || err != nil {
		return err
	}
	if err := sdk.Send(sdk.DaemonID(), []byte("s")); err != nil {
		return err
	}
	if _, err := sdk.After(time.Second, []byte("ring")); err != nil {
		return err
	}
	never, err := sdk.SetTimer(event.Time().Add(2*time.Second), []byte("never"))
	if err != nil {
		return err
	}
	never.Cancel()
	var b [4]byte
	sdk.Random(b[:])
	if _, err := rand.Read(b[:]); err != nil || time.Now().Before(event.Time()) || mathrand.Intn(6) > 5 {
		return errors.New("time or randomness is wrong")
	}
	return nil
}

func (t *tour) Snapshot() ([]byte, error) { return t.state, nil }

func (t *tour) Restore(state []byte) error {
	if len(state) > 0 && sdk.EventKind() == sdk.Timer {
		return errors.New("no state was saved")
	}
	return nil
}

func init() { hooks.Register(&tour{}) }

func main() {}
