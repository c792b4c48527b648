package control

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"wasmhost/host"
	"wasmhost/identity"
)

// Busiest are the daemons of a node that use most, the heaviest first.
type Busiest struct {
	Seconds float64 `json:"seconds"` // for how long it was looked
	Daemons []Top   `json:"daemons"`
}

// Top is what one daemon uses, a second, over a while.
type Top struct {
	Name     string  `json:"name"`
	EntityID string  `json:"entity_id"`
	Origin   string  `json:"origin"`
	Kind     string  `json:"kind"`
	State    string  `json:"state"`
	CPU      float64 `json:"cpu"`                // seconds of processor time
	Bytes    float64 `json:"bytes_per_second"`   // of history
	Direct   float64 `json:"direct_per_second"`  // events from outside
	Timers   float64 `json:"timers_per_second"`  // events of its timers
	Daemons  float64 `json:"daemons_per_second"` // events of other daemons
	Channels float64 `json:"channels_per_second"`
	Waiting  int     `json:"waiting"` // events that wait, from outside or for a turn
}

// Bounds of what is asked of GET /v1/top.
const (
	leastTopWait    = 10 * time.Millisecond
	fullTopBytes    = 32 << 20 // of history a second that weigh as much as a processor
	fullTopInternal = 20_000   // events a second that do
)

// getTop answers with the daemons that use most, over an interval.
func (s *Server) getTop(w http.ResponseWriter, r *http.Request) error {
	q, interval, most := queryOf(r), TopInterval, TopDaemons
	if q.has("interval") {
		var err error
		if interval, err = time.ParseDuration(q.text("interval")); err != nil || interval < leastTopWait || interval > MaxTopInterval {
			return fmt.Errorf("%w: interval: it is a duration from %v to %v", errBadRequest, leastTopWait, MaxTopInterval)
		}
	}
	if n, ok := q.number("daemons"); ok {
		if n < 1 || n > MaxTopDaemons {
			return fmt.Errorf("%w: daemons: it is a number from 1 to %d", errBadRequest, MaxTopDaemons)
		}
		most = int(n)
	}

	began, before := time.Now(), s.rt.Usages()
	timer := time.NewTimer(interval)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
		return context.Cause(r.Context())
	}
	passed := time.Since(began)
	return writeJSON(w, Busiest{passed.Seconds(), topOf(before, s.rt.Usages(), passed, most)})
}

// topOf returns the daemons that used most between two looks, the heaviest first.
func topOf(before, after []host.Usage, passed time.Duration, most int) []Top {
	was := make(map[identity.EntityID]host.Usage, len(before))
	for _, u := range before {
		was[u.Entity] = u
	}
	out := make([]Top, 0, len(after))
	for _, u := range after {
		b := was[u.Entity]
		rate := func(n float64) float64 { return max(n, 0) / passed.Seconds() } // below 0: it left and came back
		out = append(out, Top{Name: u.Name, EntityID: u.Entity.String(), Origin: u.Entity.Origin().String(), Kind: u.Kind, State: u.State,
			CPU: rate((u.Time - b.Time).Seconds()), Bytes: rate(float64(u.Bytes - b.Bytes)),
			Direct: rate(float64(u.Direct) - float64(b.Direct)), Timers: rate(float64(u.Timers) - float64(b.Timers)),
			Daemons: rate(float64(u.Daemons) - float64(b.Daemons)), Channels: rate(float64(u.Channels) - float64(b.Channels)),
			Waiting: u.Waiting + u.Turns})
	}
	slices.SortFunc(out, func(a, b Top) int {
		return cmp.Or(cmp.Compare(weightOf(&b), weightOf(&a)), cmp.Compare(a.EntityID, b.EntityID))
	})
	return out[:min(len(out), most)]
}

// weightOf is by what daemons are ordered.
func weightOf(t *Top) float64 {
	return t.CPU + t.Bytes/fullTopBytes + (t.Direct+t.Timers+t.Daemons+t.Channels)/fullTopInternal
}

// Top returns the daemons of the node that use most over an interval.
func (c *Client) Top(ctx context.Context, interval time.Duration, most int) (out Busiest, err error) {
	q := url.Values{"interval": {interval.String()}, "daemons": {strconv.Itoa(most)}}
	return out, c.call(ctx, "GET", "top?"+q.Encode(), nil, &out)
}
