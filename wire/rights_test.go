package wire

import (
	"errors"
	"testing"

	"wasmhost.example/host/migration"
	"wasmhost.example/wire/trust"
)

// A peer without the right cannot move a daemon here: it is told so, counted,
// and the daemon goes on where it is. With the right it can.
func TestMovingHereNeedsTheRight(t *testing.T) {
	a, b := newNode(t, "a"), newNode(t, "b")
	join(t, b.mesh, a.mesh) // b issues the token
	id := counter(t, a)
	grant := func(r trust.Rights) {
		p, err := b.mesh.FindPeer("a")
		if err != nil {
			t.Fatal(err)
		}
		if err := b.mesh.Grant(p.Key, r); err != nil {
			t.Fatal(err)
		}
	}
	move := func() error {
		m, err := a.rt.StartMigration(ctx, id, b.mesh.Self())
		if err != nil {
			return err
		}
		_, err = m.Wait(ctx)
		return err
	}
	grant(trust.RightRead | trust.RightOperate)
	var e *migration.Error
	if err := move(); !errors.As(err, &e) || e.Code != migration.Denied {
		t.Fatalf("without the right: %v", err)
	}
	if p, err := b.mesh.FindPeer("a"); err != nil || p.Denied != 1 || p.Rights != trust.RightRead|trust.RightOperate {
		t.Errorf("%+v, %v", p, err)
	}
	if a.rt.DaemonCount() != 1 || b.rt.DaemonCount() != 0 || len(b.rt.Migrations().Arriving()) != 0 {
		t.Errorf("daemons: %d and %d, %d arriving", a.rt.DaemonCount(), b.rt.DaemonCount(), len(b.rt.Migrations().Arriving()))
	}
	grant(trust.RightMigrate)
	if err := move(); err != nil || b.rt.DaemonCount() != 1 {
		t.Errorf("with the right: %v", err)
	}
}

// Rights outlive a restart, and joining again with another token changes them.
func TestRightsComeWithTheToken(t *testing.T) {
	a, b := newMesh(t, Config{Name: "a"}), newMesh(t, Config{Name: "b"})
	for _, want := range []trust.Rights{0, trust.RightRead, trust.RightsAll} {
		token, err := a.Token(60e9, want)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Join(ctx, token); err != nil {
			t.Fatal(err)
		}
		if p, err := a.FindPeer("b"); err != nil || p.Rights != want {
			t.Errorf("after a token with %v: %+v, %v", want, p, err)
		}
		if err := a.Allow(b.Self(), trust.RightRead, "a test"); (err == nil) != (want&trust.RightRead != 0) {
			t.Errorf("with %v: %v", want, err)
		}
	}
}
