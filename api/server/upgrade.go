package server

import (
	"errors"
	"fmt"
	"net/http"
	"unicode/utf8"

	"wasmhost.example/api"
	"wasmhost.example/api/server/internal/query"
	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
)

func (s *Server) postUpgrade(w http.ResponseWriter, r *http.Request) error {
	var req api.Upgrade
	if err := readJSON(w, r, &req); err != nil {
		return err
	}
	id := entity(r)
	if req.Rollback {
		if req.To != "" {
			return fmt.Errorf("%w: a rollback goes to the module before: name none", api.ErrBadRequest)
		}
		i, err := s.rt.RollBack(r.Context(), id)
		if err != nil {
			return err
		}
		return writeJSON(w, daemonOf(i))
	}
	now, err := s.rt.Inspect(id)
	if err != nil {
		return err
	}
	digest, err := s.rt.ModuleNamed(now.Kind, req.To)
	if errors.Is(err, daemon.ErrModuleNotFound) && hexInto(digest[:], req.To) == nil {
		err = s.takeModule(r.Context(), now.Kind, digest)
	}
	if err != nil {
		return err
	}
	i, err := s.rt.Upgrade(r.Context(), id, digest)
	if err != nil {
		return err
	}
	return writeJSON(w, daemonOf(i))
}

func (s *Server) getQuarantine(w http.ResponseWriter, r *http.Request) error {
	list, err := s.rt.Quarantine(r.Context(), entity(r))
	if err != nil {
		return err
	}
	out := make([]api.Quarantined, 0, len(list))
	for _, q := range list {
		out = append(out, quarantinedOf(q))
	}
	return writePage(w, r, out, func(q api.Quarantined) string { return number(q.Index) })
}

// eventKinds are the names of what events are to their daemon.
var eventKinds = map[daemon.EventKind]string{daemon.EventDirect: "direct", daemon.EventChannel: "channel", daemon.EventGap: "gap",
	daemon.EventTimer: "timer", daemon.EventDaemon: "daemon"}

func quarantinedOf(q host.Quarantined) api.Quarantined {
	out := api.Quarantined{Index: q.Index, Kind: eventKinds[q.Kind], Sender: q.Sender.String(), Number: q.Number, Time: q.Time, Channel: q.Channel, Payload: q.Payload, Error: q.Fault.Error()}
	if !q.From.IsZero() {
		out.From = q.From.String()
	}
	if utf8.Valid(q.Payload) {
		out.Text = string(q.Payload)
	}
	return out
}

func index(r *http.Request) (uint64, error) {
	n, err := query.ParseNumber(r.PathValue("index"))
	if err != nil {
		return 0, fmt.Errorf("%w: %q is no index", api.ErrBadRequest, r.PathValue("index"))
	}
	return n, nil
}

func (s *Server) postRetry(w http.ResponseWriter, r *http.Request) error {
	n, err := index(r)
	if err != nil {
		return err
	}
	res, err := s.rt.RetryQuarantined(r.Context(), entity(r), n)
	if err != nil {
		return err
	}
	return writeJSON(w, sentOf(res))
}

func (s *Server) deleteQuarantined(w http.ResponseWriter, r *http.Request) error {
	n, err := index(r)
	if err != nil {
		return err
	}
	if err := s.rt.SkipQuarantined(r.Context(), entity(r), n); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// NotQuarantined is the error of a failed event that is not there.
func NotQuarantined(ref string, index uint64) error {
	return fmt.Errorf("%w: %d, of daemon %s", daemon.ErrNotQuarantined, index, ref)
}
