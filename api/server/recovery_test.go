package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"wasmhost.example/api"
	"wasmhost.example/api/server/cluster"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/directory"
	"wasmhost.example/identity"
	"wasmhost.example/wire/trust"
)

// TestAClusterIsRecovered loses a node with the directory, and recovers on one that is
// left: a daemon of the lost node goes on with its standby's copy, one that is there goes
// on where it is, one of which no copy is left is named.
func TestAClusterIsRecovered(t *testing.T) {
	mem := directory.NewMemory()
	a, b, c := serveClustered(t, "a", mem), serveClustered(t, "b", mem), serveClustered(t, "c", mem)
	checked := newConforming(t, b.server)
	client, _ := clientOf(t, checked)
	stands := func(daemons int) {
		t.Helper()
		eventually(t, func() error {
			s, err := client.Cluster().Status(ctx)
			if err == nil && (s.Holding || len(s.Members) != 3 || s.Daemons != daemons || s.Wanting != 0) {
				err = fmt.Errorf("the cluster stands so: %+v", s)
			}
			return err
		})
	}
	stands(0)
	spawn := func(n *clusterNode, name string, standbys int) api.Daemon {
		t.Helper()
		at, _ := clientOf(t, n.server)
		must[api.Kind](t)(at.Kinds().Push(ctx, "counter", bytes.NewReader(counterModule(t))))
		d := must[api.Daemon](t)(at.Spawn(ctx, api.Spawn{Kind: "counter", Name: name, Standbys: standbys}))
		must[api.Sent](t)(at.Send(ctx, name, "", []byte("x")))
		return d
	}
	kept := spawn(a, "kept", 2)
	lost := spawn(a, "lost", 0)
	spawn(b, "here", 0)
	stands(3)
	if _, err := client.Cluster().Recover(ctx, true); !isProblem(err, "directory-present") {
		t.Errorf("while the directory answers: %v", err)
	}
	for _, n := range []*clusterNode{a, b, c} {
		n.link.Set(false, false)
	}
	if err := a.end(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if b.rt.Node().Holding() == nil || c.rt.Node().Holding() == nil {
			return errors.New("a lease holds still")
		}
		return nil
	})
	for _, dry := range []bool{true, false} {
		r, err := client.Cluster().Recover(ctx, dry)
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
		if _, begun, _ := b.engine.said(); dry && len(begun) != 0 || !dry && len(begun) != 1 {
			t.Errorf("dry %v: %d directories are begun", dry, len(begun))
		}
	}
	_, all, _ := b.engine.said()
	begun := all[0]
	if len(begun.Daemons) != 2 || begun.Daemons[1].Want != 2 && begun.Daemons[0].Want != 2 || len(begun.Nodes) != 1 || begun.Nodes[0] != c.mesh.Self() || len(begun.Silent) != 1 || begun.Silent[0].Name != "a" {
		t.Errorf("the new directory begins with %+v", begun)
	}
	if err := cluster.AskToDirectory(ctx, b.mesh, c.mesh.Self(), "test"); !isProblem(err, "denied") {
		t.Errorf("a node without the right has another come to its directory: %v", err)
	}
	if err := c.mesh.Grant(b.key.ID(), trust.RightsVoter); err != nil {
		t.Fatal(err)
	}
	if err := cluster.AskToDirectory(ctx, b.mesh, c.mesh.Self(), "test"); err != nil {
		t.Error(err)
	}
	if _, _, follows := c.engine.said(); len(follows) != 1 || follows[0] != b.mesh.Self() {
		t.Errorf("it follows %v", follows)
	}
	if err := cluster.AskToDirectory(ctx, b.mesh, c.mesh.Self(), "another"); !isProblem(err, "other-cluster") {
		t.Errorf("to the directory of another cluster: %v", err)
	}
	must[[]api.KnownDaemon](t)(client.Cluster().Known(ctx))
	must[[]api.Copy](t)(client.Cluster().Copies(ctx))
	file := must[io.ReadCloser](t)(client.Cluster().CopyChain(ctx, must[identity.EntityID](t)(identity.ParseEntityID(kept.EntityID))))
	if r, err := chain.Verify(file); err != nil || r.Outputs != 1 || r.Epoch < 1 {
		t.Errorf("the copy's chain: %+v, %v", r, err)
	}
	if err := file.Close(); err != nil {
		t.Error(err)
	}
	if err := client.Cluster().Promote(ctx, api.Promotion{Entity: kept.EntityID, Epoch: 9, Sequence: 90, Head: strings.Repeat("00", 32), To: 10}); !isProblem(err, "copy-changed") {
		t.Errorf("promoting what is not there: %v", err)
	}
	for _, pattern := range []string{"POST /v1/cluster/recovery", "GET /v1/cluster/copies", "GET /v1/cluster/copies/{entity}/chain", "GET /v1/cluster/known"} {
		if !checked.seen[pattern] {
			t.Errorf("%s was not answered with success", pattern)
		}
	}
}

func isProblem(err error, code string) bool {
	var p *api.Problem
	return errors.As(err, &p) && p.Code == code
}
