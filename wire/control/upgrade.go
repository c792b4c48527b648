package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
	"unicode/utf8"

	"wasmhost/host"
	"wasmhost/host/daemon"
)

// Upgrade asks that a daemon go over to another version of its code.
type Upgrade struct {
	To       string `json:"to,omitempty"` // the module's whole digest, or "latest": the kind's own on the node that is asked
	Rollback bool   `json:"rollback,omitempty"`
}

// Quarantined is an event that a daemon failed on.
type Quarantined struct {
	Index   uint64    `json:"index"`
	Kind    string    `json:"kind"` // direct, channel, gap, timer or daemon: what the event is to the daemon
	Sender  string    `json:"sender"`
	From    string    `json:"from,omitempty"` // whom the guest sees as the sender, where a key proves one
	Number  uint64    `json:"number"`
	Time    time.Time `json:"time"`
	Channel string    `json:"channel,omitempty"`
	Text    string    `json:"text,omitempty"` // when the payload is UTF-8
	Payload []byte    `json:"payload"`
	Error   string    `json:"error"`
}

func (s *Server) postUpgrade(w http.ResponseWriter, r *http.Request) error {
	var req Upgrade
	if err := readJSON(w, r, &req); err != nil {
		return err
	}
	id := entity(r)
	if req.Rollback {
		if req.To != "" {
			return fmt.Errorf("%w: a rollback goes to the module before: name none", errBadRequest)
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
	out := make([]Quarantined, 0, len(list))
	for _, q := range list {
		out = append(out, quarantinedOf(q))
	}
	return writePage(w, r, out, func(q Quarantined) string { return number(q.Index) })
}

// eventKinds are the names of what events are to their daemon.
var eventKinds = map[daemon.EventKind]string{daemon.EventDirect: "direct", daemon.EventChannel: "channel", daemon.EventGap: "gap",
	daemon.EventTimer: "timer", daemon.EventDaemon: "daemon"}

func quarantinedOf(q host.Quarantined) Quarantined {
	out := Quarantined{Index: q.Index, Kind: eventKinds[q.Kind], Sender: q.Sender.String(), Number: q.Number, Time: q.Time, Channel: q.Channel, Payload: q.Payload, Error: q.Fault.Error()}
	if !q.From.IsZero() {
		out.From = q.From.String()
	}
	if utf8.Valid(q.Payload) {
		out.Text = string(q.Payload)
	}
	return out
}

func index(r *http.Request) (uint64, error) {
	n, err := parseNumber(r.PathValue("index"))
	if err != nil {
		return 0, fmt.Errorf("%w: %q is no index", errBadRequest, r.PathValue("index"))
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

// Upgrade has a daemon go over to another version of its code.
func (c *Client) Upgrade(ctx context.Context, ref string, req Upgrade) (out Daemon, err error) {
	body, err := json.Marshal(req)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, "POST", daemonPath(ref, "/upgrade"), bytes.NewReader(body), &out)
}

// Quarantine returns the failed events that nobody has dealt with.
func (c *Client) Quarantine(ctx context.Context, ref string) (out []Quarantined, err error) {
	return out, c.call(ctx, "GET", daemonPath(ref, "/quarantine"), nil, &out)
}

// Retry has a daemon process a failed event again.
func (c *Client) Retry(ctx context.Context, ref string, index uint64) (out Sent, err error) {
	return out, c.call(ctx, "POST", daemonPath(ref, fmt.Sprintf("/quarantine/%d/retry", index)), nil, &out)
}

// Skip settles a failed event without trying it again.
func (c *Client) Skip(ctx context.Context, ref string, index uint64) error {
	return c.call(ctx, "DELETE", daemonPath(ref, fmt.Sprintf("/quarantine/%d", index)), nil, nil)
}

// NotQuarantined is the error of a failed event that is not there.
func NotQuarantined(ref string, index uint64) error {
	return fmt.Errorf("%w: %d, of daemon %s", daemon.ErrNotQuarantined, index, ref)
}
