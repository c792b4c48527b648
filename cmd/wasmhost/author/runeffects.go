package author

import (
	"encoding/json"
	"fmt"
	"time"

	"wasmhost.example/host/effect"
	"wasmhost.example/identity"
)

// grants are what run lets a daemon do; nil: everything.
func (r *running) grants() (*effect.Grants, error) {
	if len(r.mayPublish)+len(r.maySend) == 0 {
		return nil, nil
	}

	g := &effect.Grants{}
	for _, p := range r.mayPublish {
		g.Publish = append(g.Publish, effect.PublishGrant{Node: 1, Pattern: p})
	}

	for _, text := range r.maySend {
		if text == "*" {
			g.SendAny = true
			continue
		}

		id, err := identity.ParseEntityID(text)
		if err != nil {
			return nil, err
		}

		g.Send = append(g.Send, id)
	}

	return g, g.Check()
}

// effectLine is an effect as -o jsonl has it.
type effectLine struct {
	Event   int        `json:"event"`
	Effect  string     `json:"effect"` // publish, send, timer or cancel
	Channel string     `json:"channel,omitempty"`
	To      string     `json:"to,omitempty"`
	Timer   uint64     `json:"timer,omitempty"`
	At      *time.Time `json:"at,omitempty"`
	*payload
}

// effectLines are the effects of the last event.
func (r *running) effectLines() []effectLine {
	var lines []effectLine
	for i, e := range r.daemon.Effects() {
		line := effectLine{Event: r.events}
		at := time.Unix(0, e.At).UTC()
		switch e.Kind {
		case effect.Publish:
			line.Effect, line.Channel = "publish", e.Channel
		case effect.Send:
			line.Effect, line.To = "send", e.To.String()
		case effect.Timer:
			line.Effect, line.Timer, line.At = "timer", effect.Number(r.daemon.Applied(), i), &at
		case effect.Cancel:
			line.Effect, line.Timer = "cancel", e.ID
		}

		if e.Kind != effect.Cancel {
			p := payloadOf(e.Payload)
			line.payload = &p
		}

		lines = append(lines, line)
	}

	return lines
}

// String is the effect as people read it.
func (l effectLine) String() string {
	switch l.Effect {
	case "publish":
		return fmt.Sprintf("publish %s: %q", l.Channel, l.Payload)
	case "send":
		return fmt.Sprintf("send %s: %q", l.To, l.Payload)
	case "timer":
		return fmt.Sprintf("timer %d at %s: %q", l.Timer, l.At.Format(time.RFC3339Nano), l.Payload)
	}
	return fmt.Sprintf("cancel timer %d", l.Timer)
}

// effects shows those of the last event.
func (r *running) effects() error {
	for _, line := range r.effectLines() {
		if r.Format != "jsonl" {
			fmt.Fprintln(r.Err, line)
			continue
		}
		if err := json.NewEncoder(r.out).Encode(line); err != nil {
			return err
		}
	}
	return nil
}

// left says which timer is still to come.
func (r *running) left() {
	if next, ok := r.daemon.NextTimer(); ok {
		fmt.Fprintf(r.Err, "timer %d at %s is still to come\n", next.ID, time.Unix(0, next.At).UTC().Format(time.RFC3339Nano))
	}
}
