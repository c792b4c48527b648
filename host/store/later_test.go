package store_test

import (
	"bytes"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wasmhost.example/host/store"
)

// TestWhatNobodyWaitsForIsWrittenLater holds when it is: by itself after a while, with
// what somebody waits for, when there is much of it, and at the end; always in order.
func TestWhatNobodyWaitsForIsWrittenLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := store.Open(store.Options{Ephemeral: true})
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var done []int
		later := func(n, size int) {
			b := &store.Batch{}
			b.Put(store.Meta, []byte{byte(n)}, bytes.Repeat([]byte{1}, size))
			s.SubmitLater(b, func(err error) {
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				done = append(done, n)
			})
		}
		expect := func(when string, want ...int) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(done, want) {
				t.Errorf("%s: %v are written, not %v", when, done, want)
			}
		}
		later(1, 1)
		later(2, 1)
		time.Sleep(time.Millisecond)
		expect("soon")
		time.Sleep(time.Second)
		expect("a while later", 1, 2)
		later(3, 1)
		if err := s.Commit(&store.Batch{}); err != nil {
			t.Fatal(err)
		}
		expect("with what is waited for", 1, 2, 3)
		later(4, 600<<10)
		expect("half of much", 1, 2, 3)
		later(5, 600<<10)
		expect("much", 1, 2, 3, 4, 5)
		time.Sleep(time.Second) // a timer that was set before has nothing to do
		later(6, 1)
		time.Sleep(time.Millisecond)
		expect("soon, again", 1, 2, 3, 4, 5)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		expect("at the end", 1, 2, 3, 4, 5, 6)
	})
}

func TestBegunIsToldBeforeTheDiskHasIt(t *testing.T) {
	s, err := store.Open(store.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var told []string
	done := make(chan error)
	s.SubmitBegun(&store.Batch{}, func() { told = append(told, "begun") }, func(err error) { told = append(told, "done"); done <- err })
	if err := <-done; err != nil || !slices.Equal(told, []string{"begun", "done"}) {
		t.Errorf("%v, %v", told, err)
	}
}
