package env

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
)

func TestWaitReturnsWhenAllThatWasCountedIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w Work
		if !w.Begin() {
			t.Fatal("Begin before Close = false")
		}
		w.Close()
		w.Close()
		if w.Begin() {
			t.Fatal("Begin after Close = true")
		}

		var waited atomic.Bool
		go func() {
			w.Wait()
			waited.Store(true)
		}()
		block := make(chan struct{})
		w.Go(func() { <-block }) // what is counted may begin more
		w.Done()
		synctest.Wait()
		if waited.Load() {
			t.Fatal("Wait returned while work that Go began was running")
		}

		close(block)
		synctest.Wait()
		if !waited.Load() {
			t.Fatal("Wait has not returned, and nothing is running")
		}
	})
}
