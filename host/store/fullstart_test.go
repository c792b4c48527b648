package store

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A store that is opened on a full disk says so, however little room is left, and opens
// when there is more. Nothing is lost.
func TestOpeningOnAFullDisk(t *testing.T) {
	left := &atomic.Int64{}
	left.Store(1 << 30)
	disk := smallDisk{vfs.NewMem(), false, left}
	o := Options{Dir: t.TempDir(), FS: disk}
	s := open(t, o)
	if err := put(s, "k", 1000); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for room := int64(0); ; room += 256 {
		left.Store(room)
		s, err := Open(o)
		if err == nil {
			if err := s.Close(); err != nil && !errors.Is(err, ErrNoSpace) {
				t.Errorf("with room for %d bytes: closing: %v", room, err)
			}
			if room == 0 {
				t.Error("it opens without room for anything: this test tests nothing")
			}
			break
		}
		if !errors.Is(err, ErrNoSpace) {
			t.Fatalf("with room for %d bytes: %v; want ErrNoSpace", room, err)
		}
	}
	left.Store(1 << 30)
	s = open(t, o)
	if v, err := s.Get(Meta, []byte("k")); err != nil || len(v) != 1000 {
		t.Errorf("what was stored: %d bytes, %v", len(v), err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
