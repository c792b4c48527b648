package drain

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/identity"
)

// Result is what became of one daemon.
type Result struct {
	Entity   identity.EntityID
	Name     string
	To       identity.NodeID // where it went, or was last to go; 0: nowhere
	Report   host.Report     // of one that moved
	Attempts int
	Left     bool  // it was gone already when it was to move
	Err      error // why it is still here; nil: it is gone
}

// StuckError says that a daemon takes no events and so cannot move.
type StuckError struct{ State, Reason string }

func (e *StuckError) Error() string {
	return fmt.Sprintf("it is %s (%s): bring it back (wasmhost recover), or stop it", e.State, e.Reason)
}

// UnconfirmedError says that a daemon was released to a node that does not
// confirm it. This node goes on telling it.
type UnconfirmedError struct{ Node identity.NodeID }

func (e *UnconfirmedError) Error() string {
	return fmt.Sprintf("it is released to node %s, which does not confirm that it has it: it settles once that node answers (wasmhost migrations ls)", e.Node)
}

// ErrArriving is why a drain leaves a daemon that came from another node and is
// not settled.
var ErrArriving = errors.New("it is on its way here, and its source does not say whose it is (wasmhost migrations ls)")

// Progress is how far a drain is.
type Progress struct {
	Total, Gone, Failed int // daemons; Failed: those that stay for good
	Bytes               int64
	Elapsed             time.Duration
	Remaining           time.Duration // estimated; 0: not known
}

// Summary is how a drain ended.
type Summary struct {
	Progress
	Stayed []Result // with the reason of each
}

// ErrIncomplete is every IncompleteError.
var ErrIncomplete = errors.New("not every daemon is gone")

// IncompleteError says which daemons a drain left behind, and why.
type IncompleteError struct {
	Total  int
	Stayed []Result
}

func (e *IncompleteError) Error() string {
	const most = 10
	var each []string
	for i, r := range e.Stayed {
		if i == most {
			each = append(each, fmt.Sprintf("and %d more", len(e.Stayed)-most))
			break
		}
		each = append(each, fmt.Sprintf("%s: %v", r.Name, r.Err))
	}

	return fmt.Sprintf("%d of %d daemons are still here: %s", len(e.Stayed), e.Total, strings.Join(each, "; "))
}

// Is makes errors.Is(err, ErrIncomplete) hold.
func (e *IncompleteError) Is(target error) bool { return target == ErrIncomplete }

// Err returns nil when every daemon is gone, else an *IncompleteError.
func (s Summary) Err() error {
	if len(s.Stayed) == 0 {
		return nil
	}
	return &IncompleteError{Total: s.Total, Stayed: s.Stayed}
}

// Wait returns how the drain ended. The error is that of ctx, which ends the
// waiting alone.
func (d *Drain) Wait(ctx context.Context) (Summary, error) {
	select {
	case <-d.done:
	case <-ctx.Done():
		return Summary{}, context.Cause(ctx)
	}

	s := Summary{Progress: d.Progress()}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.results {
		if r.Err != nil {
			s.Stayed = append(s.Stayed, r)
		}
	}

	return s, nil
}

// Progress returns how far the drain is.
func (d *Drain) Progress() Progress {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := Progress{Total: d.total, Elapsed: time.Since(d.began)}
	if !d.ended.IsZero() {
		p.Elapsed = d.ended.Sub(d.began)
	}

	for _, r := range d.results {
		if r.Err != nil {
			p.Failed++
			continue
		}
		p.Gone++
		p.Bytes += r.Report.Bytes
	}

	p.Remaining = remaining(p.Elapsed, d.weight.done, d.weight.all)
	return p
}

// remaining estimates the time left from the weight of what is done.
func remaining(elapsed time.Duration, done, all int64) time.Duration {
	if done <= 0 || all <= done {
		return 0
	}
	return time.Duration(float64(elapsed) * float64(all-done) / float64(done))
}

// Each calls fn with the result of each daemon, in the order in which they come,
// until the drain has ended, ctx ends or fn returns an error.
func (d *Drain) Each(ctx context.Context, fn func(Result) error) error {
	for n := 0; ; {
		d.mu.Lock()
		fresh, grew := d.results[n:len(d.results):len(d.results)], d.grew
		d.mu.Unlock()
		for _, r := range fresh {
			if err := fn(r); err != nil {
				return err
			}
		}

		if n += len(fresh); len(fresh) > 0 {
			continue
		}

		select {
		case <-grew:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-d.done:
			d.mu.Lock()
			all := len(d.results)
			d.mu.Unlock()
			if n == all {
				return nil
			}
		}
	}
}

// baseWeight is what a daemon counts for beside its memory.
const baseWeight = 256 << 10

// expect counts a daemon that is to go.
func (d *Drain) expect(i daemon.Info) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, known := d.weights[i.Entity]; known {
		return
	}
	d.weights[i.Entity] = baseWeight + i.MemoryBytes
	d.weight.all += d.weights[i.Entity]
	d.total++
}

// final notes what became of a daemon, for good.
func (d *Drain) final(r Result) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.left, r.Entity)
	d.results = append(d.results, r)
	d.weight.done += d.weights[r.Entity]
	close(d.grew)
	d.grew = make(chan struct{})
	if r.Err != nil {
		d.options.Logger.Warn("a daemon stays", "daemon", r.Name, "reason", r.Err)
	}
}

// keep notes why a daemon is still here. again says that another try may do
// better.
func (d *Drain) keep(r Result, again bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left[r.Entity] = r
	d.again = d.again || again
}
