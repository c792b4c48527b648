package wire

import (
	"context"
	"errors"
	"strings"
	"testing"

	"wasmhost.example/host"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/standby"
	"wasmhost.example/identity"
)

// recovering is an owner that is not ready the first times.
type recovering struct {
	*owner
	times int
	asked chan struct{}
}

func (r *recovering) Submit(ctx context.Context, id identity.EntityID, ev daemon.Event) (*host.Pending, error) {
	r.asked <- struct{}{}
	if r.times--; r.times >= 0 {
		return nil, daemon.ErrNotReady
	}
	return r.owner.Submit(ctx, id, ev)
}

// A node whose runtime is not there yet refuses nothing for good.
func TestNodeThatStartsIsNotReady(t *testing.T) {
	a, b := newMesh(t, Config{}), newMesh(t, Config{})
	join(t, a, b)
	p, err := b.Peer(a.Self())
	if err != nil {
		t.Fatal(err)
	}
	move, err := p.OpenMigration(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer move.Abort()
	if err := move.Send(&migration.Ask{Entity: identity.EntityID{1}}); err != nil {
		t.Fatal(err)
	}
	if msg, err := move.Recv(); err != nil || msg.(*migration.Refuse).Code != migration.NotReady {
		t.Errorf("a migration is answered %+v, %v; want not-ready", msg, err)
	}
	talk, err := p.OpenChannel(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer talk.Abort()
	if err := errors.Join(talk.Send(&channel.Open{Version: channel.Version, Channel: "c"}), talk.Flush()); err != nil {
		t.Fatal(err)
	}
	if msg, err := talk.Recv(); err != nil || msg.(*channel.Refused).Code != channel.CodeOf(channel.ErrNotReady) {
		t.Errorf("a channel stream is answered %+v, %v; want ErrNotReady", msg, err)
	}
	follow, err := p.OpenStandby(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer follow.Abort()
	if err := follow.Flush(); err != nil {
		t.Fatal(err)
	}
	if msg, err := follow.Recv(); err != nil || !strings.Contains(msg.(*standby.Refuse).Text, "not ready") {
		t.Errorf("a standby stream is answered %+v, %v; want that the node is not ready", msg, err)
	}
}

// What is sent to a daemon of a node that starts arrives when it has started.
func TestEventsWaitForANodeThatStarts(t *testing.T) {
	a, b := newMesh(t, Config{}), newMesh(t, Config{})
	join(t, a, b)
	from := NewNode(b, &owner{})
	s, err := from.OpenSender(ctx, identity.EntityID{1}, a.Self(), identity.EntityID{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ticket, err := s.Submit(ctx, []byte("early"))
	if err != nil {
		t.Fatal(err)
	}
	refused := &recovering{owner: &owner{}, times: 2, asked: make(chan struct{}, 8)}
	NewNode(a, refused)
	<-refused.asked // the node answers events, and its runtime is not ready
	if res, err := ticket.Wait(ctx); err != nil || len(res.Outputs) != 1 {
		t.Fatalf("the event is answered %+v, %v", res, err)
	}
	refused.owner.mu.Lock()
	defer refused.owner.mu.Unlock()
	if got := refused.owner.took; len(got) != 1 || got[0] != 1 {
		t.Errorf("the daemon took %v, want event 1 once", got)
	}
}

// A node that runs no daemons says so at once.
func TestEventsToANodeWithoutDaemons(t *testing.T) {
	a, b := newMesh(t, Config{NoDaemons: true}), newMesh(t, Config{})
	join(t, a, b)
	s, err := NewNode(b, &owner{}).OpenSender(ctx, identity.EntityID{1}, a.Self(), identity.EntityID{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ticket, err := s.Submit(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ticket.Wait(ctx); !errors.Is(err, daemon.ErrNotFound) {
		t.Errorf("the event is answered %v, want ErrNotFound", err)
	}
}
