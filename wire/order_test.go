package wire

import (
	"bytes"
	"errors"
	"testing"

	"wasmhost.example/host"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/migration"
	"wasmhost.example/identity"
	"wasmhost.example/wire/trust"
)

// threeNodes are a, which knows b alone, b, and c, which knows b alone.
func threeNodes(t *testing.T) (a, b, c *testNode, id identity.EntityID) {
	t.Helper()
	a, b, c = newNode(t, "a"), newNode(t, "b"), newNode(t, "c")
	join(t, a.mesh, b.mesh)
	join(t, b.mesh, c.mesh)
	return a, b, c, counter(t, b)
}

func (n *testNode) order(id identity.EntityID, from, to *testNode) error {
	m, err := n.rt.StartMigrationWith(ctx, id, to.mesh.Self(), host.MigrationOptions{Source: from.mesh.Self()})
	if err != nil {
		return err
	}
	_, err = m.Wait(ctx)
	return err
}

// Over real sessions: a has b move a daemon to c, which a does not know.
func TestM122_M123_ThirdNodeOrders(t *testing.T) {
	a, b, c, id := threeNodes(t)
	for i := range 3 {
		if _, err := b.rt.Deliver(ctx, id, daemon.Event{Payload: []byte{byte(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	b.rt.SimulateNotReady(true) // of what others offer; what they order is another thing
	if err := a.order(id, b, c); err != nil {
		t.Fatal(err)
	}
	if _, ok := a.rt.MigrationPhase(id); ok || a.rt.DaemonCount() != 0 || b.rt.DaemonCount() != 0 || c.rt.DaemonCount() != 1 {
		t.Errorf("%d, %d and %d daemons", a.rt.DaemonCount(), b.rt.DaemonCount(), c.rt.DaemonCount())
	}
	res, err := c.rt.Deliver(ctx, id, daemon.Event{})
	if err != nil || len(res.Outputs) != 1 || string(res.Outputs[0].Payload) != "4" {
		t.Errorf("%+v, %v", res, err)
	}
	var file bytes.Buffer
	if err := c.rt.Outputs().Export(ctx, id, &file); err != nil {
		t.Fatal(err)
	}
	if rep, err := chain.Verify(&file); err != nil || len(rep.Moves) != 1 || rep.Moves[0].From != b.mesh.Self() || rep.Moves[0].To != c.mesh.Self() {
		t.Errorf("%+v, %v", rep, err)
	}
}

// While an order is carried out the source has it, and takes no second one.
func TestM122_OrderOverTheWireIsTheSources(t *testing.T) {
	a, b, c, id := threeNodes(t)
	c.rt.SimulateNotReady(true)
	m, err := a.rt.StartMigrationWith(ctx, id, c.mesh.Self(), host.MigrationOptions{Source: b.mesh.Self(), RetryNotReady: migration.MaxRetryNotReady})
	if err != nil {
		t.Fatal(err)
	}
	for p := range m.Phases(ctx) {
		if p.Phase == migration.Transfer {
			break
		}
	}
	for _, start := range []func() (*host.Migration, error){
		func() (*host.Migration, error) { return b.rt.StartMigration(ctx, id, c.mesh.Self()) },
		func() (*host.Migration, error) { return b.rt.StartMigration(ctx, id, a.mesh.Self()) },
	} {
		if _, err := start(); !errors.Is(err, &migration.Error{Code: migration.AlreadyMigrating}) {
			t.Errorf("a second one: %v", err)
		}
	}
	m.Cancel()
	if _, err := m.Wait(ctx); !errors.Is(err, &migration.Error{Code: migration.Cancelled}) {
		t.Errorf("cancelled: %v", err)
	}
	if _, ok := b.rt.MigrationPhase(id); ok {
		t.Error("the source still has a record")
	}
	if err := b.rt.Stop(ctx, id); err != nil { // it is free
		t.Error(err)
	}
}

// An order needs the right to operate daemons where they are; the move needs the
// right to move them where they go.
func TestF58_OrdersNeedRights(t *testing.T) {
	a, b, c, id := threeNodes(t)
	grant := func(at *testNode, name string, r trust.Rights) {
		t.Helper()
		p, err := at.mesh.FindPeer(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := at.mesh.Grant(p.Key, r); err != nil {
			t.Fatal(err)
		}
	}
	denied := &migration.Error{Code: migration.Denied}
	grant(b, "a", trust.RightRead|trust.RightMigrate)
	if err := a.order(id, b, c); !errors.Is(err, denied) {
		t.Errorf("without the right to operate: %v", err)
	}
	if p, err := b.mesh.FindPeer("a"); err != nil || p.Denied != 1 {
		t.Errorf("%+v, %v", p, err)
	}
	grant(b, "a", trust.RightOperate)
	grant(c, "b", trust.RightOperate)
	if err := a.order(id, b, c); !errors.Is(err, denied) { // c says so to b, and b to a
		t.Errorf("where b may not move daemons: %v", err)
	}
	if b.rt.DaemonCount() != 1 || c.rt.DaemonCount() != 0 {
		t.Errorf("%d and %d daemons", b.rt.DaemonCount(), c.rt.DaemonCount())
	}
	grant(c, "b", trust.RightMigrate)
	if err := a.order(id, b, c); err != nil {
		t.Error(err)
	}
}
