package contexts

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
)

// Of contexts that are added at once none is lost.
func TestChangesAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "contexts.toml")
	const adders, each = 8, 10
	var all sync.WaitGroup
	for n := range adders {
		all.Go(func() {
			for i := range each {
				c := Context{Name: fmt.Sprintf("c%d-%d", n, i), Socket: "/run/n.sock"}
				if err := Change(path, func(s *Set) error { return s.Add(c, false) }); err != nil {
					t.Errorf("adding %s: %v", c.Name, err)
				}
			}
		})
	}
	all.Wait()
	set, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := len(set.List()); got != adders*each {
		t.Errorf("%d contexts are in the file, %d were added", got, adders*each)
	}
}

// A change that fails leaves the file as it was.
func TestChangeThatFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "contexts.toml")
	if err := Change(path, func(s *Set) error { return s.Add(Context{Name: "a", Socket: "/run/n.sock"}, false) }); err != nil {
		t.Fatal(err)
	}
	failed := errors.New("failed")
	err := Change(path, func(s *Set) error { return errors.Join(s.Remove("a"), failed) })
	if !errors.Is(err, failed) {
		t.Errorf("changing the file: %v, want %v", err, failed)
	}
	if set, err := Read(path); err != nil || len(set.List()) != 1 {
		t.Errorf("after a change that failed the file has %v (%v), want a", set.List(), err)
	}
}
