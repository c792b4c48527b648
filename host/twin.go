package host

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// While a restored node is unconfirmed it looks for its twin, the node that the backup
// was made of:
//
//	reached     -> its mesh is isolated, each daemon that the twin serves says so, and
//	               none can be confirmed
//	not reached -> nothing changes: silence confirms nothing

// Twin is another incarnation of this node.
type Twin struct {
	Addr      string
	Standings []TwinStanding // empty: it does not say
}

// ErrTwin says that another incarnation of this node runs.
var ErrTwin = errors.New("another incarnation of this node runs")

// twinEvery is how often an unconfirmed node looks for its twin.
const twinEvery = 5 * time.Second

// LookForTwin makes the runtime look for another incarnation of this node, now and then
// until the node is confirmed, and before each decision about a held daemon. look
// returns nil where none is reached; it may be called concurrently. It is called once,
// before Start.
func (r Unconfirmed) LookForTwin(look func(context.Context) *Twin) { r.rt.twin = look }

func (r *Runtime) startTwin() {
	if r.twin == nil || r.Unconfirmed().Incarnation().Confirmed || !r.env.Work.Begin() {
		return
	}
	go func() {
		defer r.env.Work.Done()
		r.watchTwin(r.env.Context)
	}()
}

// watchTwin looks until ctx ends or the node is confirmed.
func (r *Runtime) watchTwin(ctx context.Context) {
	tick := time.NewTicker(twinEvery)
	defer tick.Stop()
	for !r.Unconfirmed().Incarnation().Confirmed {
		if _, err := r.seeTwin(ctx); err != nil {
			r.env.Logger.Warn("looking for another incarnation of this node", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// seeTwin looks for the twin, and notes what it serves. It returns nil where none is
// reached.
func (r *Runtime) seeTwin(ctx context.Context) (*Twin, error) {
	if r.twin == nil || r.Unconfirmed().Incarnation().Confirmed {
		return nil, nil
	}
	t := r.twin(ctx)
	if t == nil {
		return nil, nil
	}
	return t, r.twinServes(t)
}

// noTwin returns ErrTwin where another incarnation of this node is reached now.
func (r *Runtime) noTwin(ctx context.Context) error {
	t, err := r.seeTwin(ctx)
	if err != nil {
		return err
	}
	if t != nil {
		return fmt.Errorf("%w, at %s: end it first, or give this node's copies up for it", ErrTwin, t.Addr)
	}
	return nil
}
