package groups

import (
	"context"
	"errors"
	"fmt"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/group"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
)

// Ticket is an event that was sent: a *wire.Ticket, or one of a group.
type Ticket interface {
	Wait(context.Context) (daemon.Result, error)
	Ready() <-chan struct{}
	Release()
}

// groupTicket is an event that a member of a group was sent.
type groupTicket struct {
	*wire.Ticket
	group  *groupSender
	member group.Member
	event  daemon.Event
	frees  []func() // release what Wait sent besides
}

// Wait returns what became of the event. Where the member turned out to be gone before it
// was given the event, another has it; an event with an id stays bound to the member.
func (t *groupTicket) Wait(ctx context.Context) (daemon.Result, error) {
	res, err := t.Ticket.Wait(ctx)
	if !errors.Is(err, daemon.ErrNotFound) {
		return res, err
	}
	g := t.group
	g.k.groups.Unreachable(g.name, t.member.Entity, err)
	err = notHere(t.member, err)
	if g.again || t.Ticket.SentAgain() {
		return res, fmt.Errorf("%w; the event may have been applied", err)
	}

	without := []identity.EntityID{t.member.Entity}
	for {
		m, done, routeErr := g.k.groups.Route(g.name, g.key, without)
		if routeErr != nil {
			return daemon.Result{}, errors.Join(routeErr, err)
		}
		var away bool
		res, away, err = t.sendTo(ctx, m)
		done()
		if !away {
			return res, err
		}
		g.k.groups.Unreachable(g.name, m.Entity, err)
		without, err = append(without, m.Entity), notHere(m, err)
	}
}

// sendTo sends the event to another member; away: that one has not been given it. The
// sender is this event's alone, for submit may use the group's meanwhile.
func (t *groupTicket) sendTo(ctx context.Context, m group.Member) (res daemon.Result, away bool, err error) {
	g := t.group
	sender, err := g.k.node.OpenSender(g.ctx, m.Entity, m.Node, identity.EntityID{})
	if err != nil {
		return daemon.Result{}, false, err
	}
	defer sender.Close()
	sender.Hold(g.room, g.first)

	tries, cancel := context.WithTimeout(ctx, memberPatience)
	defer cancel()
	sent, err := sender.Submit(tries, t.event.Payload)
	if err != nil {
		return daemon.Result{}, isAway(err) && ctx.Err() == nil, err
	}
	t.frees = append(t.frees, sent.Release)
	res, err = sent.Wait(ctx)
	return res, errors.Is(err, daemon.ErrNotFound) && !sent.SentAgain(), err
}

// Release implements ticket.
func (t *groupTicket) Release() {
	t.Ticket.Release()
	for _, free := range t.frees {
		free()
	}
}
