package server

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/server/internal/query"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/host/daemon"
	"wasmhost.example/identity"
)

// Bounds of what is asked of GET /v1/top.
const (
	leastTopWait    = 10 * time.Millisecond
	fullTopBytes    = 32 << 20 // of history a second that weigh as much as a processor
	fullTopInternal = 20_000   // events a second that do
)

// getTop answers with the daemons that use most, over an interval.
func (s *Server) getTop(w http.ResponseWriter, r *http.Request) error {
	q, interval, most := query.Of(r), api.TopInterval, api.TopDaemons
	if q.Has("interval") {
		var err error
		if interval, err = time.ParseDuration(q.Text("interval")); err != nil || interval < leastTopWait || interval > api.MaxTopInterval {
			return fmt.Errorf("%w: interval: it is a duration from %v to %v", api.ErrBadRequest, leastTopWait, api.MaxTopInterval)
		}
	}
	if n, ok := q.Number("daemons"); ok {
		if n < 1 || n > api.MaxTopDaemons {
			return fmt.Errorf("%w: daemons: it is a number from 1 to %d", api.ErrBadRequest, api.MaxTopDaemons)
		}
		most = int(n)
	}

	began, before := time.Now(), s.rt.Daemons().Usages()
	timer := time.NewTimer(interval)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
		return context.Cause(r.Context())
	}
	passed := time.Since(began)
	return web.WriteJSON(w, api.Busiest{Seconds: passed.Seconds(), Daemons: topOf(before, s.rt.Daemons().Usages(), passed, most)})
}

// topOf returns the daemons that used most between two looks, the heaviest first.
func topOf(before, after []daemon.Usage, passed time.Duration, most int) []api.Top {
	was := make(map[identity.EntityID]daemon.Usage, len(before))
	for _, u := range before {
		was[u.Entity] = u
	}
	out := make([]api.Top, 0, len(after))
	for _, u := range after {
		b := was[u.Entity]
		rate := func(n float64) float64 { return max(n, 0) / passed.Seconds() } // below 0: it left and came back
		out = append(out, api.Top{Name: u.Name, EntityID: u.Entity.String(), Origin: u.Entity.Origin().String(), Kind: u.Kind, State: u.State,
			CPU: rate((u.Time - b.Time).Seconds()), Bytes: rate(float64(u.Bytes - b.Bytes)),
			Direct: rate(float64(u.Direct) - float64(b.Direct)), Timers: rate(float64(u.Timers) - float64(b.Timers)),
			Daemons: rate(float64(u.Daemons) - float64(b.Daemons)), Channels: rate(float64(u.Channels) - float64(b.Channels)),
			Waiting: u.Waiting + u.Turns})
	}
	slices.SortFunc(out, func(a, b api.Top) int {
		return cmp.Or(cmp.Compare(weightOf(&b), weightOf(&a)), cmp.Compare(a.EntityID, b.EntityID))
	})
	return out[:min(len(out), most)]
}

// weightOf is by what daemons are ordered.
func weightOf(t *api.Top) float64 {
	return t.CPU + t.Bytes/fullTopBytes + (t.Direct+t.Timers+t.Daemons+t.Channels)/fullTopInternal
}
