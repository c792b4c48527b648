package holds

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/env"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

func newHolds(t *testing.T, s *store.Store) (*Holds, *[]daemon.Notification) {
	t.Helper()
	var heard []daemon.Notification
	e := &env.Env{Store: s, Logger: slog.New(slog.DiscardHandler), Clock: func() time.Time { return time.Unix(100, 0) },
		Notify: func(n daemon.Notification) { heard = append(heard, n) }}
	return New(e, func(identity.EntityID) string { return "name" }), &heard
}

// TestTheFirstHoldStays but where it is for lack of a proof and the next has one.
func TestTheFirstHoldStays(t *testing.T) {
	proof := []byte("signed")
	for name, c := range map[string]struct {
		first, next Record
		stays       bool
	}{
		"unconfirmed, then unconfirmed":       {Record{Reason: daemon.HoldUnconfirmed}, Record{Reason: daemon.HoldUnconfirmed, Proof: proof}, true},
		"unconfirmed, then without a proof":   {Record{Reason: daemon.HoldUnconfirmed}, Record{Reason: daemon.HoldSurpassed}, true},
		"unconfirmed, then by a proof":        {Record{Reason: daemon.HoldUnconfirmed}, Record{Reason: daemon.HoldSurpassed, Proof: proof}, false},
		"by a proof, then by another":         {Record{Reason: daemon.HoldSurpassed, Proof: proof}, Record{Reason: daemon.HoldForked, Proof: proof}, true},
		"by a proof, then as one of a backup": {Record{Reason: daemon.HoldForked, Proof: proof}, Record{Reason: daemon.HoldUnconfirmed}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s, heard := newHolds(t, nil)
			id := identity.EntityID{1}
			want := &c.next
			if c.stays {
				want = &c.first
			}
			if err := errors.Join(s.Hold(id, &c.first), s.Hold(id, &c.next)); err != nil {
				t.Fatal(err)
			}
			if got := s.Of(id); got != want {
				t.Errorf("held by %v, want %v", got, want)
			}
			if told := len(*heard); c.stays && told != 1 || !c.stays && told != 2 {
				t.Errorf("%d notifications", told)
			}
		})
	}
}

// TestNothingIsHeldBetweenTheQuestionAndItsUse has a hold come while Unless runs what it
// was asked to.
func TestNothingIsHeldBetweenTheQuestionAndItsUse(t *testing.T) {
	s, _ := newHolds(t, nil)
	id := identity.EntityID{1}
	held := make(chan error, 1)
	err := s.Unless(id, func() error {
		begun := make(chan struct{})
		go func() {
			close(begun)
			held <- s.Hold(id, &Record{Reason: daemon.HoldForked})
		}()
		<-begun
		if s.count.Load() != 0 {
			t.Error("the daemon is held while Unless runs")
		}
		return nil
	})
	if err := errors.Join(err, <-held); err != nil {
		t.Fatal(err)
	}
	var refused *daemon.HeldError
	if err := s.Unless(id, func() error { t.Error("it runs for a held daemon"); return nil }); !errors.As(err, &refused) || refused.Reason != daemon.HoldForked {
		t.Errorf("got %v, want that it is held as forked", err)
	}
}

// TestHoldsOutliveTheNode and say what a later proof adds.
func TestHoldsOutliveTheNode(t *testing.T) {
	st, err := store.Open(store.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}()
	id := identity.EntityID{1}
	s, _ := newHolds(t, st)
	if err := s.Hold(id, &Record{Reason: daemon.HoldUnconfirmed, Why: "of a backup"}); err != nil {
		t.Fatal(err)
	}
	s.PointTo(id, &Record{Node: 7, Epoch: 3, Index: 9, Proof: []byte("signed")})

	again, _ := newHolds(t, st)
	if err := again.Recover(); err != nil {
		t.Fatal(err)
	}
	got := again.Of(id)
	if got == nil || got.Reason != daemon.HoldUnconfirmed || got.Why != "of a backup" || got.Node != 7 || got.Epoch != 3 || got.Index != 9 || string(got.Proof) != "signed" {
		t.Fatalf("after a restart it is held by %+v", got)
	}
	if !again.IsUnconfirmed(id) || len(again.List()) != 1 || again.MayServe(id) == nil {
		t.Error("it is held, and not as unconfirmed, or listed, or may serve")
	}
	again.Drop(id)
	if again.Has(id) || again.MayServe(id) != nil {
		t.Error("it is held after its hold was dropped")
	}

	b := &store.Batch{}
	b.Put(store.Holds, id[:], []byte("x"))
	if err := st.Commit(b); err != nil {
		t.Fatal(err)
	}
	if err := again.Recover(); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("of a broken record: got %v, want ErrCorrupt", err)
	}
}
