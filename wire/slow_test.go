package wire

import (
	"bufio"
	"context"
	"runtime"
	"testing"

	"wasmhost.example/host/budget"
	"wasmhost.example/host/daemon"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// loud is a native daemon that answers each event with a mebibyte.
type loud struct{}

func (loud) Process(_ *daemon.Call, payload []byte) ([][]byte, error) {
	return [][]byte{append(make([]byte, 1<<20), payload...)}, nil
}
func (loud) Name() string                           { return "loud" }
func (loud) Requirements() daemon.Requirements      { return daemon.Requirements{} }
func (loud) Snapshot(*daemon.Call) ([]byte, error)  { return nil, nil }
func (loud) Restore(_ *daemon.Call, _ []byte) error { return nil }

func newLoud(context.Context, daemon.Env) (daemon.Daemon, error) { return loud{}, nil }

// A peer that sends and never reads makes the node hold no more than its budget:
// further events are not processed, and those of others are. Once it reads, every
// answer comes, once and in order.
func TestAPeerThatReadsNothingIsHeldBack(t *testing.T) {
	a, b := newNode(t, "a"), newNode(t, "b")
	join(t, a.mesh, b.mesh)
	if err := a.rt.RegisterFactory("loud", daemon.FactoryFunc(newLoud)); err != nil {
		t.Fatal(err)
	}
	var ids [2]identity.EntityID
	for i := range ids {
		d, err := a.rt.Spawn(ctx, daemon.SpawnRequest{Kind: "loud"})
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = d.Entity
	}
	stream, err := b.mesh.open(ctx, a.mesh.Self(), purposeEvents)
	if err != nil {
		t.Fatal(err)
	}
	defer cut(stream)
	const events = 150
	r := newRemote(stream)
	if err := r.write(&openEvents{Entity: ids[0]}); err != nil {
		t.Fatal(err)
	}
	from := identity.NamedSender("slow")
	for i := range uint64(events) {
		if err := r.send(&daemon.Event{Sender: from, Number: i + 1, Payload: []byte{byte(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	answers := a.mesh.config.Budgets.Answers
	for answers.Use().Waiting == 0 {
		runtime.Gosched()
	}
	if use := answers.Use(); use.Used > budget.StreamAnswers {
		t.Errorf("the node holds %d bytes of answers, at most %d", use.Used, budget.StreamAnswers)
	}
	if _, err := a.rt.Deliver(ctx, ids[1], daemon.Event{Payload: []byte("x")}); err != nil {
		t.Errorf("an event to another daemon: %v", err)
	}
	other, err := b.node.OpenSender(ctx, ids[0], a.mesh.Self(), identity.EntityID{})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	ticket, err := other.Submit(ctx, []byte("x"))
	if err == nil {
		_, err = ticket.Wait(ctx)
	}
	if err != nil {
		t.Errorf("another stream of the peer: %v", err)
	}
	in := bufio.NewReader(stream)
	for i := range events {
		frame, err := canon.ReadFrame(in, maxReplyFrame)
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		reply, err := decodeReply(frame)
		if err != nil {
			t.Fatal(err)
		}
		res, err := reply.result(ids[0])
		if err != nil || len(res.Outputs) != 1 || res.Duplicate {
			t.Fatalf("answer %d: %d outputs, duplicate %v, %v", i, len(res.Outputs), res.Duplicate, err)
		}
		if p := res.Outputs[0].Payload; p[len(p)-1] != byte(i) {
			t.Fatalf("answer %d is that of event %d", i, p[len(p)-1])
		}
	}
	for answers.Use().Used != 0 {
		runtime.Gosched()
	}
	if peak := answers.Use().Peak; peak > 2*budget.StreamAnswers {
		t.Errorf("at most %d bytes were held, want no more than two streams'", peak)
	}
}

// What a stream holds is given back when its peer leaves without reading.
func TestAPeerThatLeavesHoldsNothing(t *testing.T) {
	a, b := newNode(t, "a"), newNode(t, "b")
	join(t, a.mesh, b.mesh)
	if err := a.rt.RegisterFactory("loud", daemon.FactoryFunc(newLoud)); err != nil {
		t.Fatal(err)
	}
	d, err := a.rt.Spawn(ctx, daemon.SpawnRequest{Kind: "loud"})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := b.mesh.open(ctx, a.mesh.Self(), purposeEvents)
	if err != nil {
		t.Fatal(err)
	}
	r := newRemote(stream)
	if err := r.write(&openEvents{Entity: d.Entity}); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if err := r.send(&daemon.Event{Payload: []byte{1}}); err != nil {
			t.Fatal(err)
		}
	}
	budgets := a.mesh.config.Budgets
	for budgets.Answers.Use().Waiting == 0 {
		runtime.Gosched()
	}
	r.abort()
	for budgets.Answers.Use().Used != 0 || budgets.Requests.Use().Used != 0 || budgets.Answers.Use().Waiting != 0 {
		runtime.Gosched()
	}
}
