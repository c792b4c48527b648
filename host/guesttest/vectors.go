package guesttest

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// Vectors are calls of a guest and what they must give: how an SDK's own test
// shows that it keeps the contract. abi/vectors.md says what the guest does, the
// probe.
type Vectors struct {
	ABI    int          `json:"abi"`
	Config string       `json:"config"`
	Grants VectorGrants `json:"grants"`
	Steps  []VectorStep `json:"steps"`
}

// VectorGrants are what the probe may do: patterns of channels, daemons in
// hexadecimal.
type VectorGrants struct {
	Publish []string `json:"publish"`
	Send    []string `json:"send"`
}

func (g *VectorGrants) grants() (*effect.Grants, error) {
	out := &effect.Grants{}
	for _, p := range g.Publish {
		out.Publish = append(out.Publish, effect.PublishGrant{Node: 1, Pattern: p})
	}

	for _, text := range g.Send {
		id, err := identity.ParseEntityID(text)
		if err != nil {
			return nil, err
		}
		out.Send = append(out.Send, id)
	}

	return out, out.Check()
}

// VectorStep is one event, or a journey through the hooks.
type VectorStep struct {
	Send    string           `json:"send"`
	Repeat  int              `json:"repeat,omitempty"` // how often Send is in the event; 0: once
	Time    time.Time        `json:"time,omitzero"`    // when it is recorded
	Sender  string           `json:"sender,omitempty"` // 32 bytes, hexadecimal; empty: anonymous
	Channel string           `json:"channel,omitempty"`
	Event   daemon.EventKind `json:"event,omitempty"` // what the event is; 0: sent to the daemon
	Hooks   bool             `json:"hooks,omitempty"` // instead of an event: the state goes to another guest by the hooks

	Expect []string `json:"expect"`           // outputs
	Log    []string `json:"log,omitempty"`    // "LEVEL TEXT"
	Effect []string `json:"effect,omitempty"` // "publish CHANNEL TEXT", "send ID TEXT", "timer TIME TEXT", "cancel NUMBER"
	Kind   string   `json:"kind,omitempty"`   // of the fault that it ends in
	Code   int32    `json:"code,omitempty"`   // of a fault of kind error
	Error  string   `json:"error,omitempty"`  // that the fault's text contains
}

// maxVector bounds an event of a step, in bytes.
const maxVector = 16 << 20

// ErrVectors says that bytes are no vectors, or are of another version of the
// contract.
var ErrVectors = errors.New("not vectors")

// ReadVectors reads JSON.
func ReadVectors(b []byte) (*Vectors, error) {
	var v Vectors
	if err := canon.UnmarshalJSON(b, &v); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrVectors, err)
	}
	if v.ABI != 1 || len(v.Steps) == 0 {
		return nil, fmt.Errorf("%w: %d steps of version %d of the contract", ErrVectors, len(v.Steps), v.ABI)
	}
	if _, err := v.Grants.grants(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrVectors, err)
	}

	for k, s := range v.Steps {
		if s.Event > daemon.EventDaemon {
			return nil, fmt.Errorf("%w: step %d is an event of kind %d", ErrVectors, k+1, s.Event)
		}
		if id, err := hex.DecodeString(s.Sender); err != nil || len(id) != 0 && len(id) != len(identity.EntityID{}) {
			return nil, fmt.Errorf("%w: step %d has a sender of another size than 32 bytes", ErrVectors, k+1)
		}
		if s.Repeat < 0 || s.Repeat > 1 && len(s.Send) > maxVector/s.Repeat {
			return nil, fmt.Errorf("%w: step %d is repeated %d times", ErrVectors, k+1, s.Repeat)
		}
	}

	return &v, nil
}

// Run has a daemon of the runner take every step, and calls wrong for each that
// gives something else than it must.
func (v *Vectors) Run(ctx context.Context, t *Runner, wrong func(step int, what string) error) (err error) {
	var log []string
	note := func(level int, text string) { log = append(log, fmt.Sprintf("%d %s", level, text)) }
	if t.Grants, err = v.Grants.grants(); err != nil {
		return err
	}

	defer func() { t.Grants = nil }()
	d, err := t.Spawn(ctx, []byte(v.Config), startTime, note)
	if err != nil {
		return err
	}

	defer func() { err = errors.Join(err, d.Close()) }()
	for k := range v.Steps {
		s := &v.Steps[k]
		log = nil
		var what string
		if s.Hooks {
			var next *Daemon
			if next, err = t.byHooks(ctx, d, note); err == nil {
				err = d.Close()
				d = next
			}

			if err != nil {
				return fmt.Errorf("step %d: %w", k+1, err)
			}

			continue
		}

		if what, err = s.take(d); err != nil {
			return fmt.Errorf("step %d: %w", k+1, err)
		}
		if what == "" && s.Kind == "" && !slices.Equal(log, s.Log) {
			what = fmt.Sprintf("it logs %q, not %q", log, s.Log)
		}

		if did := effectLines(d.Effects()); what == "" && !slices.Equal(did, s.Effect) {
			what = fmt.Sprintf("its effects are %q, not %q", did, s.Effect)
		}

		if what != "" {
			if err := wrong(k+1, what); err != nil {
				return err
			}
		}
	}

	return ctx.Err()
}

// effectLines writes effects as vectors do.
func effectLines(list []effect.Effect) []string {
	var out []string
	for _, e := range list {
		switch e.Kind {
		case effect.Publish:
			out = append(out, fmt.Sprintf("publish %s %s", e.Channel, e.Payload))
		case effect.Send:
			out = append(out, fmt.Sprintf("send %s %s", e.To, e.Payload))
		case effect.Timer:
			out = append(out, fmt.Sprintf("timer %s %s", time.Unix(0, e.At).UTC().Format(time.RFC3339Nano), e.Payload))
		case effect.Cancel:
			out = append(out, fmt.Sprintf("cancel %d", e.ID))
		}
	}

	return out
}

// take returns what is wrong with the answer.
func (s *VectorStep) take(d *Daemon) (string, error) {
	ev := daemon.Event{Payload: []byte(strings.Repeat(s.Send, max(s.Repeat, 1))), Channel: s.Channel, Kind: s.Event}
	sender, err := hex.DecodeString(s.Sender)
	if err != nil || len(sender) > len(ev.Sender) {
		return "", fmt.Errorf("the sender %q is not at most %d bytes in hexadecimal", s.Sender, len(ev.Sender))
	}

	copy(ev.Sender[:], sender)
	at := int64(startTime)
	if !s.Time.IsZero() {
		at = s.Time.UnixNano()
	}

	out, err := d.Deliver(ev, at)
	var fault *daemon.GuestError
	switch {
	case err != nil && !errors.As(err, &fault):
		return "", err
	case fault != nil && (s.Kind != string(fault.Kind) || s.Kind == "error" && s.Code != fault.Code || !strings.Contains(fault.Text, s.Error)):
		return fmt.Sprintf("it fails: %v; it must give %s", fault, s.want()), nil
	case fault != nil:
		return "", nil
	}

	var got []string
	for _, b := range out {
		got = append(got, string(b))
	}

	if s.Kind != "" || !slices.Equal(got, s.Expect) {
		return fmt.Sprintf("it emits %.300q; it must give %s", got, s.want()), nil
	}
	return "", nil
}

func (s *VectorStep) want() string {
	if s.Kind == "" {
		return fmt.Sprintf("%.300q", s.Expect)
	}
	return fmt.Sprintf("a fault of kind %s, code %d, with %q in its text", s.Kind, s.Code, s.Error)
}
