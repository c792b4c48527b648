package control

import (
	"errors"
	"testing"
	"time"

	"wasmhost/host"
	"wasmhost/host/directory"
	"wasmhost/wire"
)

// TestAClusterIsRecovered loses a node with the directory, and recovers on one that is
// left: a daemon of the lost node goes on with its standby's copy, one that is there goes
// on where it is, one of which no copy is left is named.
func TestAClusterIsRecovered(t *testing.T) {
	mem := directory.NewMemory()
	links := &links{}
	a, b, c := serveLinked(t, "a", mem, links), serveLinked(t, "b", mem, links), serveLinked(t, "c", mem, links)
	for _, n := range []*clusterNode{a, b, c} {
		n.server.rt.RegisterFactory("k", nativeKind())
	}
	client, checked := clientOf(t, b.server)
	eventually(t, func() error {
		s, err := client.Cluster(ctx)
		if err == nil && (s.Holding || len(s.Members) != 3) {
			err = errors.New("not all are there")
		}
		return err
	})
	of := func(n *clusterNode, name string, standbys int) Daemon {
		t.Helper()
		at, _ := clientOf(t, n.server)
		return must[Daemon](t)(at.Spawn(ctx, Spawn{Kind: "k", Name: name, Standbys: standbys}))
	}
	of(a, "kept", 2)
	lost := of(a, "lost", 0)
	of(b, "here", 0)
	eventually(t, func() error {
		s, err := client.Cluster(ctx)
		if err == nil && (s.Wanting != 0 || s.Daemons != 3) {
			err = errors.New("not all are in sync")
		}
		return err
	})
	if _, err := client.Recover(ctx, true); !isProblem(err, "directory-present") {
		t.Errorf("while the directory answers: %v", err)
	}
	links.cut()
	if err := a.end(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if b.rt.Holding() == nil || c.rt.Holding() == nil {
			return errors.New("a lease holds still")
		}
		return nil
	})
	for _, dry := range []bool{true, false} {
		r, err := client.Recover(ctx, dry)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Lost) != 1 || r.Lost[0].Entity != lost.EntityID || r.Lost[0].Owner != a.mesh.Self().String() {
			t.Errorf("dry %v: lost are %+v", dry, r.Lost)
		}
		if len(r.Daemons) != 2 || r.Daemons[0].Name != "here" || r.Daemons[1].Name != "kept" || r.Daemons[1].Epoch != 2 || !r.Daemons[1].Complete || len(r.Daemons[1].Copies) != 2 {
			t.Errorf("dry %v: daemons are %+v", dry, r.Daemons)
		}
		if silent := r.Nodes[1:]; len(silent) != 2 {
			t.Errorf("dry %v: nodes are %+v", dry, r.Nodes)
		}
		if n := len(b.engine.begun); dry && n != 0 || !dry && n != 1 {
			t.Errorf("dry %v: %d directories are begun", dry, n)
		}
	}
	begun := b.engine.begun[0]
	if len(begun.Daemons) != 2 || begun.Daemons[1].Want != 2 && begun.Daemons[0].Want != 2 || len(begun.Nodes) != 1 || begun.Nodes[0] != c.mesh.Self() || len(begun.Silent) != 1 || begun.Silent[0].Name != "a" {
		t.Errorf("the new directory begins with %+v", begun)
	}
	if err := AskToDirectory(ctx, b.mesh, c.mesh.Self(), "test"); !isProblem(err, "denied") {
		t.Errorf("a node without the right has another come to its directory: %v", err)
	}
	if err := c.mesh.Grant(b.mesh.Key(), wire.RightsVoter); err != nil {
		t.Fatal(err)
	}
	if err := AskToDirectory(ctx, b.mesh, c.mesh.Self(), "test"); err != nil || len(c.engine.follows) != 1 || c.engine.follows[0] != b.mesh.Self() {
		t.Errorf("%v, it follows %v", err, c.engine.follows)
	}
	_ = checked
	_ = time.Second
	_ = host.ErrNoCluster
}
