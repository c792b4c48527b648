package moving

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"wasmhost.example/host/migration"
)

func TestATailHoldsWhatHappenedSinceItWasTaken(t *testing.T) {
	for _, c := range []struct {
		name    string
		stored  bool
		records []string
		held    Held
		take    []string // nil: to be read from the store
		refused bool
	}{
		{name: "nothing"},
		{name: "within the limit", records: []string{"ab", "cd"}, held: Held{Bytes: 4, Records: 2}, take: []string{"ab", "cd"}},
		{name: "beyond it, stored", stored: true, records: []string{"ab", "cd", "e"}, held: Held{Bytes: 5, Records: 3}},
		{name: "beyond it, not stored", records: []string{"ab", "cd", "e"}, held: Held{Bytes: 5, Records: 3}, refused: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			tail := NewTail(7, 4, c.stored)
			for _, r := range c.records {
				tail.Add([]byte(r))
			}
			if got := tail.Held(); got != c.held {
				t.Fatalf("held %+v, want %+v", got, c.held)
			}

			cut, err := tail.Take()
			var refused *migration.Error
			if errors.As(err, &refused) != c.refused || c.refused && refused.Code != migration.BufferFull {
				t.Fatalf("Take: %v", err)
			}
			if c.refused {
				return
			}
			var took []string
			for _, r := range cut.Records {
				took = append(took, string(r))
			}
			if cut.From != 7 || cut.To != 7+uint64(len(c.records)) || !slices.Equal(took, c.take) {
				t.Errorf("took %d to %d, %q; want from 7, %q", cut.From, cut.To, took, c.take)
			}

			tail.Add([]byte("next"))
			tail.Work(time.Second)
			cut, err = tail.Take()
			if err != nil || cut.From != 7+uint64(len(c.records)) || len(cut.Records) != 1 || cut.Busy != time.Second {
				t.Errorf("then took %+v, %v", cut, err)
			}
		})
	}
}

func TestAPacerSpacesEvents(t *testing.T) {
	var p Pacer
	p.Set(10 * time.Millisecond)
	began := time.Now()
	for range 3 { // the first may begin at once
		if err := p.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if waited := time.Since(began); waited < 20*time.Millisecond {
		t.Errorf("three events take %v, want 20ms at least", waited)
	}

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	p.Set(time.Hour)
	if err := errors.Join(p.Wait(t.Context()), p.Wait(ended)); !errors.Is(err, context.Canceled) {
		t.Errorf("an event whose caller is gone waits: %v", err)
	}
}
