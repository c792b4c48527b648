package groups

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"wasmhost.example/api/server/internal/query"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/api/server/problem"
	"wasmhost.example/host/budget"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/group"
	"wasmhost.example/host/mesh"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
)

// GroupPrefix is how a reference to a daemon begins that is to a group: one of its
// members has each event.
const GroupPrefix = "group/"

// memberPatience is for how long a member's node is tried before another member has
// the event, and how long a member may owe an answer before it is looked for.
const memberPatience = 2 * time.Second

// groupSender sends each event to a member of a group that is kept here. It is for one
// caller at a time.
type groupSender struct {
	k     *Keeper
	ctx   context.Context // of the request
	name  string
	key   []byte                   // by which consistent-hash chooses
	again bool                     // the events have ids, and may have been sent before
	to    map[uint64]*memberSender // by group.Member.Born
	room  *budget.Budget           // of answers that others' must precede
	first *budget.Budget           // of the answer that is written next; nil: as room
	left  []*memberSender          // that gave an event up; what they were given before may still be answered
}

// memberSender is the sender to one member.
type memberSender struct {
	*wire.Sender
	owed chan int // 1 for each event that it is given, -1 for each that is answered
}

// OpenGroup returns what sends events of one request to members of a group, each in its
// own order. room bounds the bytes that wait, wanted those of the first event. A group that
// is not kept here is an error.
func (k *Keeper) OpenGroup(r *http.Request, name string, again bool, room, wanted *budget.Budget) (*groupSender, error) {
	if _, err := k.groups.Get(name); err != nil {
		return nil, err
	}
	return &groupSender{k: k, ctx: r.Context(), name: name, key: []byte(query.Of(r).Text("key")), again: again, room: room, first: wanted, to: make(map[uint64]*memberSender)}, nil
}

// Submit sends an event to the member whose turn it is. A member whose node does not
// answer is passed over, where it has not been given the event; one that may have it
// keeps it.
func (g *groupSender) Submit(ctx context.Context, ev daemon.Event) (Ticket, error) {
	var without []identity.EntityID
	var first error
	for {
		if err := g.k.soleKeeper(ctx, g.name); err != nil {
			return nil, err
		}
		m, done, err := g.route(ev, without)
		if err != nil {
			return nil, errors.Join(err, first)
		}
		t, to, err := g.submitTo(ctx, m, ev)
		if err == nil {
			go func() {
				defer done()
				to.owe(g.ctx, 1)
				defer to.owe(g.ctx, -1)
				select {
				case <-t.Ready():
				case <-g.ctx.Done():
				}
			}()
			return &groupTicket{Ticket: t, group: g, member: m, event: ev}, nil
		}
		done()
		if !isAway(err) || ctx.Err() != nil {
			return nil, err
		}
		g.k.groups.Unreachable(g.name, m.Entity, err)
		if g.again {
			return nil, notHere(m, err)
		}
		without = append(without, m.Entity)
		if first == nil {
			first = notHere(m, err)
		}
	}
}

func (g *groupSender) route(ev daemon.Event, without []identity.EntityID) (group.Member, func(), error) {
	if g.again {
		return g.k.groups.RouteOnce(g.name, ev.Sender, ev.Number, g.key)
	}
	return g.k.groups.Route(g.name, g.key, without)
}

// isAway reports whether a member that refused an event with err has not been given it,
// so that another member may have it.
func isAway(err error) bool {
	return errors.Is(err, mesh.ErrUnreachable) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, daemon.ErrNotFound) || errors.Is(err, daemon.ErrComing)
}

// notHere is err as the sender of a group is told it: that a member is not found does not
// mean that the group is not.
func notHere(m group.Member, err error) error {
	if errors.Is(err, daemon.ErrNotFound) {
		return fmt.Errorf("%w: member %d: %v", problem.ErrMemberAway, m.Index, err)
	}
	return err
}

func (m *memberSender) owe(ctx context.Context, n int) {
	select {
	case m.owed <- n:
	case <-ctx.Done():
	}
}

// watch gives up what a member owes that is nowhere to be found: whether it has been
// applied is not known then.
func (g *groupSender) watch(m group.Member, to *memberSender) {
	owed := 0
	late := time.NewTimer(memberPatience)
	defer late.Stop()
	for {
		select {
		case n := <-to.owed:
			if owed += n; n < 0 || owed == 1 {
				late.Reset(memberPatience)
			}
		case <-late.C:
			if owed > 0 {
				if at := (groupNodes{g.k}).Look(g.ctx, m)[0]; at.Health != group.Healthy && g.ctx.Err() == nil {
					why := fmt.Errorf("%w: member %d of the group owes an answer: %s; the event may have been applied", mesh.ErrUnreachable, m.Index, at.Reason)
					g.k.groups.Unreachable(g.name, m.Entity, why)
					to.GiveUp(why)
				}
			}
			late.Reset(memberPatience)
		case <-g.ctx.Done():
			return
		}
	}
}

func (g *groupSender) submitTo(ctx context.Context, m group.Member, ev daemon.Event) (*wire.Ticket, *memberSender, error) {
	ctx, cancel := context.WithTimeout(ctx, memberPatience)
	defer cancel()
	to := g.to[m.Born]
	if to == nil {
		var from identity.EntityID // zero: nobody's
		if g.again {
			from = ev.Sender
		}
		sender, err := g.k.node.OpenSender(g.ctx, m.Entity, m.Node, from)
		if err != nil {
			return nil, nil, err
		}
		sender.Hold(g.room, g.first)
		to = &memberSender{Sender: sender, owed: make(chan int)}
		g.to[m.Born] = to
		go g.watch(m, to)
	}
	var t *wire.Ticket
	var err error
	if g.again {
		t, err = to.SubmitEvent(ctx, ev)
	} else {
		t, err = to.Submit(ctx, ev.Payload)
	}
	if err != nil {
		delete(g.to, m.Born)
		g.left = append(g.left, to)
	}
	return t, to, err
}

func (g *groupSender) Close() {
	for _, s := range g.left {
		s.Close()
	}
	for _, s := range g.to {
		s.Close()
	}
}

// ToGroup passes requests that deliver events to a group on to the node that keeps it.
func (k *Keeper) ToGroup(h web.Handler) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		name, ok := strings.CutPrefix(r.PathValue("ref"), GroupPrefix)
		if !ok {
			return h(w, r)
		}
		at, err := k.keeperOf(r, name)
		if err != nil {
			return err
		}
		if at == k.mesh.Self() {
			return h(w, r)
		}
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		if err := k.guard.StateSender(r); err != nil {
			return err
		}
		return k.find.PassTo(w, r, r.URL.Path, at)
	}
}
