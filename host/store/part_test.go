package store

import (
	"errors"
	"testing"
)

func TestPartsMakeTheSameElsewhere(t *testing.T) {
	from, to := open(t, Options{Ephemeral: true}), open(t, Options{Ephemeral: true})
	id, other := ID{1}, ID{2}
	for _, s := range []*Store{from, to} {
		var b Batch
		b.Append(other, 0, []byte("another's"))
		b.Append(id, 9, []byte("old"))
		b.Put(Deltas, append(id[:], 0, 0, 0, 9), []byte("old"))
		if err := s.Commit(&b); err != nil {
			t.Fatal(err)
		}
	}
	b := &Batch{}
	b.DeleteHistory(id)
	b.DeleteUnder(Deltas, id[:])
	b.Append(id, 0, []byte("zero"))
	b.Append(id, 1, []byte("one"))
	b.Append(other, 1, []byte("another's"))
	b.Put(Snapshots, id[:], []byte("state"))
	b.Put(Deltas, append(id[:], 0, 0, 0, 0), []byte("delta"))
	b.DeleteHistoryBefore(id, 1)
	b.Put(Daemons, id[:], []byte("not a part"))
	copied := &Batch{}
	for _, p := range b.Parts(id) {
		if err := copied.AddPart(id, p); err != nil {
			t.Fatal(err)
		}
	}
	if err := from.Commit(b); err != nil {
		t.Fatal(err)
	}
	if err := to.Commit(copied); err != nil {
		t.Fatal(err)
	}
	for _, table := range []Table{history, Snapshots, Deltas} {
		var want, got []string
		collect := func(s *Store, into *[]string) {
			if err := s.ScanPrefix(table, id[:], func(k, v []byte) error { *into = append(*into, string(k)+"="+string(v)); return nil }); err != nil {
				t.Fatal(err)
			}
		}
		collect(from, &want)
		collect(to, &got)
		if len(want) == 0 || len(want) != len(got) {
			t.Fatalf("table %c: %q, want %q", table, got, want)
		}
		for i := range want {
			if want[i] != got[i] {
				t.Errorf("table %c: %q, want %q", table, got[i], want[i])
			}
		}
	}
	if _, err := to.Get(Daemons, id[:]); !errors.Is(err, ErrNotFound) {
		t.Errorf("what is no part went along: %v", err)
	}
	if end, err := to.HistoryEnd(other); err != nil || end != 1 {
		t.Errorf("another daemon's history ends at %d, %v", end, err)
	}
}

func TestPartsReachOneDaemonAlone(t *testing.T) {
	for _, p := range []Part{{Table: 'd', Kind: 's'}, {Table: 'm', Kind: 'd'}, {Table: 'h', Kind: 's', Key: []byte{1}}, {Table: 's', Kind: 'x'}, {Table: 'e', Kind: 's', Key: make([]byte, 17)}} {
		if err := new(Batch).AddPart(ID{1}, p); !errors.Is(err, ErrBadPart) {
			t.Errorf("%+v: %v", p, err)
		}
	}
}
