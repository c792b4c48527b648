package engine

import (
	"errors"
	"fmt"

	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
	"wasmhost.example/host/fair"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/internal/pending"
	"wasmhost.example/host/outbox"
	"wasmhost.example/identity"
)

// Acknowledge needs d.mu.
func (x Effects) Acknowledge(p effect.Place, list []channel.Carriage, lost string) error {
	d := x.d
	if d.effects == nil {
		return nil
	}
	if err := d.noteSent(p, list[len(list)-1], lost); err != nil {
		return err
	}
	d.did()

	bytes := 0
	for i := range list {
		bytes += effect.Cost(len(list[i].Payload))
	}
	d.share.Made(len(list), int64(bytes))
	d.madeRoom()
	if lost != "" {
		d.lost.sent.Add(uint64(len(list)))
		d.setTimer() // calls among them end
		d.log.Add(2, fmt.Sprintf("%d events that it sent to %s are given up: %s", len(list), p, lost))
		d.env.Logger.Warn("what a daemon sent is given up", "daemon", d.id.Origin(), "to", p, "events", len(list), "reason", lost)
	}

	return nil
}

// noteSent records that what goes to a place was taken there up to an effect, or is given
// up. It needs d.mu.
func (d *Daemon) noteSent(p effect.Place, last channel.Carriage, lost string) error {
	if p.Replies {
		return d.acknowledgeReplies(p.To, last, lost)
	}
	sent := &journal.Sent{Place: p, Epoch: last.Epoch, Number: last.Number, Lost: lost, Time: d.Turns().Now()}
	rec, err := journal.Encode(sent)
	if err != nil {
		return err
	}
	d.settle(sent)
	if d.recording() {
		d.Turns().Record(rec)
	}
	return nil
}

// Credentials needs d.mu.
func (x Effects) Credentials(p effect.Place, had outbox.Credentials) (c outbox.Credentials, err error) {
	d := x.d
	if d.key.CanSign() {
		c.Residence, c.Epoch = had.Residence, d.epoch
		if c.Residence == nil || had.Epoch != d.epoch {
			if c.Residence, err = channel.NewResidence(d.key, d.env.Self, d.epoch); err != nil {
				return had, err
			}
		}
	}

	if d.effects != nil && p.Channel != "" {
		if g := d.effects.Grants().MayPublish(p.Channel); g != nil {
			c.Token = g.Token
		}
	}
	return c, nil
}

// Taken is how many events of another daemon a daemon took.
type Taken struct {
	Events     int   // that it has now
	PassedOver int   // of them, that it failed on
	First      error // why it failed on the first of those
}

// TakeSome applies effects that are new to the daemon, and returns of how many
// this is true now: all, unless the turn is over. It needs d.mu.
func (x Effects) TakeSome(turn *fair.Turn, from identity.EntityID, via identity.NodeID, list []channel.Carriage) (taken Taken, t *pending.Ticket, err error) {
	d := x.d
	d.Turns().Gather()
	for taken.Events < len(list) {
		e := &list[taken.Events]
		before := d.stats.Errors
		if err = d.takeOne(from, via, e); err != nil {
			break
		}

		if d.stats.Errors > before {
			if taken.PassedOver++; taken.First == nil {
				taken.First = fmt.Errorf("event %d: %w", e.Number, d.fault)
			}
		}

		if taken.Events++; d.Turns().TurnOver(turn) {
			break
		}
	}

	t = d.Turns().Flush()
	d.Turns().CountTurn()
	return taken, t, err
}

// takeOne has the daemon take an event of another's, an ask or a reply. It needs d.mu.
func (d *Daemon) takeOne(from identity.EntityID, via identity.NodeID, e *channel.Carriage) error {
	if e.Reply != nil {
		return d.takeReply(from, e.Reply)
	}
	ev := &Input{Event: daemon.Event{Sender: from, From: from, Via: via, Number: e.Number, Kind: daemon.EventDaemon, Payload: e.Payload}, senderEpoch: e.Epoch}
	if e.Call {
		ev.Kind = daemon.EventAsk
	}
	return d.applyOther(ev)
}

// errAgain says that an event is to be delivered again.
var errAgain = errors.New("the event is to come again")

// ApplyChannel has the daemon process one event of a channel. One that it fails
// on is recorded, and passed over as every failed event. It needs d.mu.
func (x Subscriptions) ApplyChannel(b *channel.Binding, ev *Input) error {
	d := x.d
	before := b.Cursor
	var err error
	if at := d.after(d.used); len(ev.Payload) > d.Limits().EventBytes {
		_, err = d.failed(ev, at, &daemon.GuestError{Kind: "limit", Call: "process", Limit: "event-bytes",
			Text: fmt.Sprintf("the event has %d bytes, at most %d", len(ev.Payload), d.Limits().EventBytes)})
	} else {
		err = d.Turns().Process(ev, at, new(pending.Event))
	}

	if err == nil && b.Cursor == before {
		err = errAgain
	}
	return err
}
