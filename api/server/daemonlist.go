package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"wasmhost.example/api"
	"wasmhost.example/api/server/convert"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/host"
)

// listHere answers with this node's daemons: in one list or a page of it, or as JSON
// lines where the request accepts those, each page of which is gathered when the one
// before is written.
func (s *Server) listHere(w http.ResponseWriter, r *http.Request) error {
	if err := s.rt.Ready(); err != nil {
		return err
	}
	after, limit, err := web.PageOf(r)
	if err != nil {
		return err
	}
	var from host.DaemonKey
	if after != "" {
		name, id, ok := strings.Cut(after, "\x00")
		if !ok || from.Entity.UnmarshalText([]byte(id)) != nil {
			return fmt.Errorf("%w: after is not what a page named as next", api.ErrBadRequest)
		}
		from.Name = name
	}
	if web.AcceptsLines(r) {
		return s.streamHere(w, r, from, limit)
	}
	most := limit + 1 // one more says that there is another page
	if limit == 0 {
		most = int(^uint(0) >> 1)
	}
	out := []api.Daemon{}
	for _, i := range s.rt.Daemons().After(from, most) {
		out = append(out, convert.DaemonOf(i))
	}
	return web.WritePage(w, r, out, daemonKey)
}

func daemonKey(d api.Daemon) string { return d.Name + "\x00" + d.EntityID }

// streamHere writes the daemons after from as JSON lines: limit of them, or all where it
// is 0.
func (s *Server) streamHere(w http.ResponseWriter, r *http.Request, from host.DaemonKey, limit int) error {
	w.Header().Set("Content-Type", "application/jsonl")
	enc := json.NewEncoder(w)
	for left := limit; r.Context().Err() == nil; {
		n := api.MaxPage
		if limit > 0 {
			n = min(n, left)
		}
		page := s.rt.Daemons().After(from, n)
		for _, i := range page {
			if enc.Encode(convert.DaemonOf(i)) != nil {
				return nil // the client is gone
			}
		}
		if left -= len(page); len(page) < n || limit > 0 && left == 0 {
			return nil
		}
		last := page[len(page)-1]
		from = host.DaemonKey{Name: last.Name, Entity: last.Entity}
	}
	return nil
}
