package engine

import (
	"fmt"

	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/identity"
)

// Calls between daemons. What a daemon asked and what it owes is package effect's State;
// an ask, a reply and a deadline that passes are events, recorded as any other.

// prepareCalling fills what a Call has of an ask or a reply. A module that does not answer
// gets an ask as what another daemon sent. It needs d.mu.
func (d *Daemon) prepareCalling(c *daemon.Call, ev *Input) {
	if status, reply := ev.Kind.Reply(); reply {
		c.Kind, c.Call, c.Status = daemon.EventReply, ev.Number, status
		return
	}
	if c.Call = c.Sequence; !d.answers() {
		c.Kind, c.Call = daemon.EventDaemon, 0
	}
}

// answers reports whether the daemon's code answers calls itself. It needs d.mu.
func (d *Daemon) answers() bool {
	a, ok := d.daemon.(daemon.Answerer)
	return ok && a.Answers()
}

// answerByOutputs has the outputs of an event that asks be the answer, one after the other,
// where the daemon's code does not answer calls. It needs d.mu.
func (d *Daemon) answerByOutputs(ev *Input, outputs [][]byte) {
	if ev.Kind != daemon.EventAsk || d.answers() || len(d.call.Effects) >= effect.MaxPerEvent {
		return
	}

	size := 0
	for _, b := range outputs {
		size += len(b)
	}
	e := effect.Effect{Kind: effect.Answer, ID: d.applied + 1}
	if size > effect.MaxPayload {
		e.Kind, e.Payload = effect.Refuse, fmt.Appendf(nil, "the outputs have %d bytes, an answer has at most %d", size, effect.MaxPayload)
	} else {
		e.Payload = make([]byte, 0, size)
		for _, b := range outputs {
			e.Payload = append(e.Payload, b...)
		}
	}
	d.call.Effects = append(d.call.Effects, e)
}

// failedAsk tells who asked that the daemon failed on the event. It needs d.mu.
func (d *Daemon) failedAsk(kind daemon.EventKind, asker identity.EntityID, epoch, number uint64, fault *daemon.GuestError) {
	if kind == daemon.EventAsk {
		d.effects.Reply(d.epoch, asker, effect.CallName{Epoch: epoch, Number: number}, effect.Failed, effect.ReplyText(fault.Error()))
	}
}

// settle takes effects out that were taken where they go, or are given up. It needs d.mu.
func (d *Daemon) settle(s *journal.Sent) {
	if s.Lost != "" && s.Place.Channel == "" {
		d.effects.GiveUp(s.Place.To, effect.CallName{Epoch: s.Epoch, Number: s.Number})
	}
	d.effects.Settle(s.Place, s.Epoch, s.Number)
}

// roomForAsk returns nil where the daemon may be asked once more by that asker; ErrNoRoom. It
// needs d.mu.
func (d *Daemon) roomForAsk(by identity.EntityID) error {
	if d.effects == nil {
		return nil
	}
	if room := d.effects.Room(); !d.effects.MayBeAsked(by) || room.Pending < 1 || room.Bytes < effect.Cost(effect.MaxPayload) {
		return fmt.Errorf("%w: it owes %d answers, and %d have not arrived yet", ErrNoRoom, len(d.effects.Owes()), len(d.effects.Replies()))
	}
	return nil
}

// takeReply has the daemon learn how a call ended that it made, where that is still open: of
// an answer and a deadline the first that is recorded counts. It needs d.mu.
func (d *Daemon) takeReply(from identity.EntityID, r *channel.Reply) error {
	name := effect.CallName{Epoch: r.CallEpoch, Number: r.Call}
	if d.effects == nil {
		return nil
	}
	if c, open := d.effects.Call(name); !open || c.To != from || c.Ends != effect.Answered {
		d.lost.late.Add(1)
		return nil
	}
	return d.applyReply(from, name, effect.Status(r.Status), r.Payload)
}

// endCall has the daemon learn that a call ended without the other daemon. It needs d.mu.
func (d *Daemon) endCall(c effect.Call) error {
	status := c.Ends
	if status == effect.Answered {
		status = effect.TimedOut
	}
	return d.applyReply(c.To, c.Name, status, nil)
}

// applyReply has the daemon process a reply, and passes over one that it fails on. It needs
// d.mu.
func (d *Daemon) applyReply(from identity.EntityID, name effect.CallName, status effect.Status, payload []byte) error {
	err := d.applySurely(&Input{Event: daemon.Event{Sender: from, From: from, Number: name.Number, Kind: daemon.ReplyKind(status), Payload: payload},
		senderEpoch: name.Epoch})
	if err != nil {
		return err
	}
	if _, open := d.effects.Call(name); open {
		return errAgain
	}
	return nil
}

// acknowledgeReplies records that replies need not be sent again. With lost they were given
// up. It needs d.mu.
func (d *Daemon) acknowledgeReplies(to identity.EntityID, last channel.Carriage, lost string) error {
	rec, err := journal.Encode(&journal.Replied{To: to, Epoch: last.Epoch, Number: last.Number, Lost: lost, Time: d.Turns().Now()})
	if err != nil {
		return err
	}
	d.effects.SettleReplies(to, last.Epoch, last.Number)
	if d.recording() {
		d.Turns().Record(rec)
	}
	return nil
}

// DueFor returns the daemon's effects for the place, or its replies. It needs d.mu.
func (x Effects) DueFor(p effect.Place, most, bytes int) []channel.Carriage {
	d := x.d
	if d.effects == nil {
		return nil
	}
	if p.Replies {
		replies := d.effects.RepliesTo(p.To, most, bytes)
		list := make([]channel.Carriage, len(replies))
		for i, r := range replies {
			list[i] = channel.Carriage{Epoch: r.Epoch, Number: r.Number, Payload: r.Payload, Reply: &channel.Reply{Epoch: r.Epoch, Number: r.Number,
				CallEpoch: r.Call.Epoch, Call: r.Call.Number, Status: uint8(r.Status), Payload: r.Payload}}
		}
		return list
	}
	pending := d.effects.For(p, most, bytes)
	list := make([]channel.Carriage, len(pending))
	for i, e := range pending {
		list[i] = channel.Carriage{Epoch: e.Epoch, Number: e.Number, Payload: e.Payload, Call: d.effects.IsCall(e.Epoch, e.Number)}
	}
	return list
}

// watchCalls looks after the daemon's open calls: whoever it asked may be removed. It needs
// d.mu.
func (d *Daemon) watchCalls() {
	if d.effects == nil {
		return
	}
	for _, c := range d.effects.Calls() {
		d.node.Outbox.Watch(d.id, c.To)
	}
}

// EndCallsTo makes the daemon's calls to another end, which is gone. It needs d.mu.
func (x Effects) EndCallsTo(to identity.EntityID) error {
	d := x.d
	if d.effects == nil {
		return nil
	}
	last, waits := d.effects.LastCall(to)
	if !waits {
		return nil
	}
	err := d.noteSent(effect.Place{To: to}, channel.Carriage{Epoch: last.Epoch, Number: last.Number}, "there is no such daemon on any node that answers")
	d.setTimer()
	return err
}
