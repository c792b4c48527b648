package author

import (
	"errors"
	"fmt"
	"time"

	"wasmhost.example/host/daemon"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// eventKinds are the kinds of events as --input jsonl names them.
var eventKinds = map[string]daemon.EventKind{
	"": daemon.EventDirect, "direct": daemon.EventDirect, "channel": daemon.EventChannel, "gap": daemon.EventGap, "timer": daemon.EventTimer, "daemon": daemon.EventDaemon,
}

// eventLine is one event of --input jsonl.
type eventLine struct {
	Text    *string    `json:"text,omitempty"`
	Payload []byte     `json:"payload,omitempty"`
	Kind    string     `json:"kind,omitempty"`    // of eventKinds; empty: direct
	Sender  string     `json:"sender,omitempty"`  // an entity id
	Channel string     `json:"channel,omitempty"` // by which it came
	Time    *time.Time `json:"time,omitempty"`    // when it is recorded; nil: now
}

// happening is an event and when it is recorded, in Unix nanoseconds. One of kind
// timer stands for the daemon's timer that is due first.
type happening struct {
	daemon.Event
	at int64
}

// parseEvent reads a line of --input jsonl.
func parseEvent(line []byte, now int64) (happening, error) {
	var e eventLine
	if err := canon.UnmarshalJSON(line, &e); err != nil {
		return happening{}, fmt.Errorf("not an event: %w", err)
	}
	return e.happening(now)
}

// happening checks that some host could deliver the event.
func (e *eventLine) happening(now int64) (h happening, err error) {
	h.at = now
	kind, known := eventKinds[e.Kind]
	switch {
	case e.Text != nil && e.Payload != nil, e.Text == nil && e.Payload == nil && kind != daemon.EventTimer:
		return h, errors.New(`not an event: it has one of "text" and "payload"`)
	case !known:
		return h, fmt.Errorf("not an event: kind %q is none of direct, channel, gap, timer and daemon", e.Kind)
	case e.Time != nil && e.Time.UnixNano() <= 0:
		return h, fmt.Errorf("not an event: %v is before 1970", e.Time)
	}

	h.Kind, h.Payload = kind, e.Payload
	if e.Text != nil {
		h.Payload = []byte(*e.Text)
	}

	if e.Time != nil {
		h.at = e.Time.UnixNano()
	}

	if err := e.checkSource(kind, len(h.Payload)); err != nil {
		return h, err
	}
	if h.Channel = e.Channel; e.Sender != "" {
		if h.Sender, err = identity.ParseEntityID(e.Sender); err != nil {
			return h, fmt.Errorf("not an event: sender: %w", err)
		}
	}

	return h, nil
}

// checkSource holds sender and channel against the kind: abi/SPEC.md says which kind
// has which.
func (e *eventLine) checkSource(kind daemon.EventKind, size int) error {
	fromChannel := kind == daemon.EventChannel || kind == daemon.EventGap
	switch {
	case fromChannel && e.Channel == "":
		return fmt.Errorf(`not an event: one of kind %s has a "channel"`, e.Kind)
	case !fromChannel && e.Channel != "":
		return fmt.Errorf(`not an event: only those of kind channel and gap have a "channel"`)
	case e.Channel != "" && identity.ValidChannel(e.Channel) != nil:
		return fmt.Errorf("not an event: %w", identity.ValidChannel(e.Channel))
	case kind == daemon.EventDaemon && e.Sender == "":
		return errors.New(`not an event: one of kind daemon has a "sender", an entity id`)
	case kind != daemon.EventDaemon && kind != daemon.EventChannel && e.Sender != "":
		return errors.New(`not an event: only those of kind channel and daemon have a "sender"`)
	case kind == daemon.EventGap && size != 16:
		return fmt.Errorf("not an event: a gap has a payload of 16 bytes, not %d", size)
	}

	return nil
}
