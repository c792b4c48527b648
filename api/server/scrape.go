package server

import (
	"fmt"
	"maps"
	"net/http"
	"wasmhost.example/api"
	"wasmhost.example/api/server/internal/access"
	"wasmhost.example/api/server/metrics"
	"wasmhost.example/api/server/problem"
	"wasmhost.example/host/daemon"
	"wasmhost.example/wire/trust"
)

// SetMetrics makes the server count its requests in m and answer GET /metrics
// with it, before it serves.
func (s *Server) SetMetrics(m *metrics.Metrics) {
	m.Expect(maps.Keys(operations))
	s.metrics = m
	s.guard.SetMetrics(m)
}

// scraped answers a scrape of the node's owner.
func (s *Server) scraped(w http.ResponseWriter, r *http.Request) {
	err := s.guard.Needs(trust.RightOwner, func(w http.ResponseWriter, r *http.Request) error {
		if err := access.CallerOf(r).May(access.Operation{Scope: api.ScopeRead}); err != nil {
			return err
		}
		if s.metrics == nil {
			return fmt.Errorf("%w: this node counts nothing", daemon.ErrNotSupported)
		}
		s.metrics.ServeHTTP(w, r)
		return nil
	})(w, r)
	if err != nil {
		problem.Write(w, err)
	}
}
