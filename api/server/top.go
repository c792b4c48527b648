package server

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/server/convert"
	"wasmhost.example/api/server/internal/query"
	"wasmhost.example/api/server/internal/web"
)

// leastTopWait is the shortest interval that GET /v1/top looks at.
const leastTopWait = 10 * time.Millisecond

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
	return web.WriteJSON(w, api.Busiest{Seconds: passed.Seconds(), Daemons: convert.TopOf(before, s.rt.Daemons().Usages(), passed, most)})
}
