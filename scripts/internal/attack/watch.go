package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"wasmhost.example/scripts/internal/fleet"
)

// measured is what the node's other users and its machine saw meanwhile.
type measured struct {
	pause   time.Duration // the longest answer of /healthz
	p99     time.Duration // of events to the light daemon
	events  int
	failed  int
	failure string // the first
	peak    int64  // resident memory, bytes
}

// watcher measures until its end.
type watcher struct {
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu    sync.Mutex
	took  []time.Duration
	total measured
}

// How often the watcher asks.
const (
	lightEvery  = 10 * time.Millisecond
	healthEvery = 20 * time.Millisecond
	memoryEvery = 50 * time.Millisecond
)

func (s *scene) watch(ctx context.Context) *watcher {
	ctx, cancel := context.WithCancel(ctx)
	w := &watcher{cancel: cancel}
	n := s.one()
	w.work.Go(func() {
		w.every(ctx, lightEvery, func() {
			status, b, err := n.do(context.WithoutCancel(ctx), "POST", "/v1/daemons/light/events", []byte("x"))
			if err == nil && status != 200 {
				err = fmt.Errorf("%s", answerText(status, b))
			}
			if err != nil {
				w.note(func(m *measured) {
					if m.failed++; m.failed == 1 {
						m.failure = err.Error()
					}
				})
			}
		}, func(d time.Duration) { w.took = append(w.took, d) })
	})
	w.work.Go(func() {
		w.every(ctx, healthEvery, func() {
			if _, err := n.say(context.WithoutCancel(ctx), "GET", "/healthz", nil); err != nil {
				w.note(func(m *measured) { m.failed, m.failure = m.failed+1, err.Error() })
			}
		}, func(d time.Duration) { w.total.pause = max(w.total.pause, d) })
	})
	w.work.Go(func() {
		w.every(ctx, memoryEvery, func() {
			u, err := n.Usage(ctx)
			if err == nil {
				w.note(func(m *measured) { m.peak = max(m.peak, u.Resident) })
			}
		}, func(time.Duration) {})
	})
	return w
}

// every asks, one request after the other, and gives how long each took to keep, which
// runs under the lock.
func (w *watcher) every(ctx context.Context, pause time.Duration, ask func(), keep func(time.Duration)) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		began := time.Now()
		ask()
		w.note(func(*measured) { keep(time.Since(began)) })
	}
}

func (w *watcher) note(fn func(*measured)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fn(&w.total)
}

// fewest is how many events to the light daemon a row is judged by at the least.
const fewest = 50

// end stops watching, once enough was seen, and returns what was.
func (w *watcher) end(ctx context.Context) measured {
	for ctx.Err() == nil {
		w.mu.Lock()
		enough := len(w.took) >= fewest && w.total.peak > 0 || w.total.failed > 0
		w.mu.Unlock()
		if enough {
			break
		}
		fleet.Pause(ctx, lightEvery)
	}
	w.cancel()
	w.work.Wait()
	m := w.total
	m.events = len(w.took)
	if len(w.took) > 0 {
		slices.Sort(w.took)
		m.p99 = w.took[len(w.took)*99/100]
	}
	return m
}
