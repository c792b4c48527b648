package control

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"wasmhost/host"
	"wasmhost/identity"
	"wasmhost/wire"
)

func hexInto(dst []byte, s string) error {
	if n, err := hex.Decode(dst, []byte(s)); err != nil || n != len(dst) {
		return fmt.Errorf("%w: %q is not %d bytes in hexadecimal", errBadRequest, s, len(dst))
	}
	return nil
}

func readAll(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	var buf bytes.Buffer
	if _, err := buf.ReadFrom(http.MaxBytesReader(w, r.Body, limit)); err != nil {
		return nil, fmt.Errorf("%w: reading the body: %w", errBadRequest, err)
	}
	return buf.Bytes(), nil
}

// getDaemons lists the daemons of this node; with all=1 those that left too,
// and the peers'.
func (s *Server) getDaemons(w http.ResponseWriter, r *http.Request) error {
	out := []Daemon{}
	for _, i := range s.rt.Daemons() {
		out = append(out, daemonOf(i))
	}
	if !r.URL.Query().Has("all") {
		return writeJSON(w, out)
	}
	peers, err := s.mesh.Peers()
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, p := range peers {
		wg.Go(func() {
			theirs, err := NewClient(s.mesh.HTTPTransport(p.ID)).Daemons(r.Context(), false)
			if err != nil {
				s.logger.Warn("a peer does not list its daemons", "peer", p.ID, "error", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			out = append(out, theirs...)
		})
	}
	wg.Wait()
	here := make(map[string]bool)
	for _, d := range out {
		here[d.EntityID] = true
	}
	for _, m := range s.rt.MovedDaemons() {
		if !here[m.Entity.String()] { // its node did not answer
			out = append(out, Daemon{Origin: m.Entity.Origin().String(), EntityID: m.Entity.String(), NodeID: m.Node.String(), Epoch: m.Epoch, State: "moved"})
		}
	}
	return writeJSON(w, out)
}

func (s *Server) postDaemon(w http.ResponseWriter, r *http.Request) error {
	var req Spawn
	if err := readJSON(w, r, &req); err != nil {
		return err
	}
	own, err := host.LimitsOf(req.Limits)
	if err != nil {
		return err
	}
	spawn := host.SpawnRequest{Kind: req.Kind, Name: req.Name, Config: req.Config, Limits: own}
	if len(req.Identity) > 0 {
		if spawn.Identity, err = identity.FromSeed(req.Identity); err != nil {
			return err
		}
	}
	i, err := s.rt.Spawn(r.Context(), spawn)
	if err != nil {
		return err
	}
	return writeJSON(w, daemonOf(i))
}

// postSnapshot makes a daemon of the snapshot in the body. The seed of its
// identity may stand in the header Wasmhost-Identity, in hexadecimal.
func (s *Server) postSnapshot(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	spawn := host.SpawnRequest{Kind: q.Get("kind"), Name: q.Get("name")}
	if h := r.Header.Get(identityHeader); h != "" {
		var seed [32]byte
		if err := hexInto(seed[:], h); err != nil {
			return err
		}
		var err error
		if spawn.Identity, err = identity.FromSeed(seed[:]); err != nil {
			return err
		}
	}
	b, err := readAll(w, r, maxSnapshot)
	if err != nil {
		return err
	}
	i, err := s.rt.SpawnFromSnapshot(r.Context(), spawn, b)
	if err != nil {
		return err
	}
	return writeJSON(w, daemonOf(i))
}

const identityHeader = "Wasmhost-Identity"

func (s *Server) getDaemon(w http.ResponseWriter, r *http.Request) error {
	i, err := s.rt.Inspect(entity(r))
	if err != nil {
		return err
	}
	return writeJSON(w, daemonOf(i))
}

func (s *Server) deleteDaemon(w http.ResponseWriter, r *http.Request) error {
	if err := s.rt.Stop(r.Context(), entity(r)); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) getSnapshot(w http.ResponseWriter, r *http.Request) error {
	snap, err := s.rt.Snapshot(r.Context(), entity(r))
	if err != nil {
		return err
	}
	if snap == nil {
		return fmt.Errorf("%w: %s", errStateless, entity(r).Origin())
	}
	w.Header().Set("Content-Type", "application/cbor")
	_, _ = snap.WriteTo(w) // the client sees a cut stream if this fails
	return nil
}

func (s *Server) getChain(w http.ResponseWriter, r *http.Request) error {
	started := &startedWriter{w: w}
	err := s.rt.ExportChain(r.Context(), entity(r), started)
	if err != nil && started.any {
		panic(http.ErrAbortHandler) // cut the stream: the client must not take it for whole
	}
	return err
}

type startedWriter struct {
	w   http.ResponseWriter
	any bool
}

func (s *startedWriter) Write(b []byte) (int, error) {
	if !s.any {
		s.w.Header().Set("Content-Type", "application/octet-stream")
		s.any = true
	}
	return s.w.Write(b)
}

// lines writes values as JSON lines, each at once.
type lines struct {
	enc *json.Encoder
	rc  *http.ResponseController
}

func newLines(w http.ResponseWriter) lines {
	w.Header().Set("Content-Type", "application/jsonl")
	return lines{json.NewEncoder(w), http.NewResponseController(w)}
}

func (l lines) write(v any) error { return errors.Join(l.enc.Encode(v), l.rc.Flush()) }

func (s *Server) getLogs(w http.ResponseWriter, r *http.Request) error {
	id := entity(r)
	var follow <-chan host.LogLine
	if r.URL.Query().Has("follow") {
		var err error
		if follow, err = s.rt.FollowLogs(r.Context(), id); err != nil {
			return err
		}
	}
	kept, err := s.rt.Logs(id)
	if err != nil {
		return err
	}
	out := newLines(w)
	for _, l := range kept {
		if err := out.write(LogLine(l)); err != nil {
			return nil // the client is gone
		}
	}
	if follow == nil {
		return nil
	}
	_ = out.rc.Flush() // the client is gone if this fails, and follow ends
	for l := range follow {
		if err := out.write(LogLine(l)); err != nil {
			return nil
		}
	}
	return nil
}

func (s *Server) getTail(w http.ResponseWriter, r *http.Request) error {
	outputs, err := s.rt.Tail(r.Context(), entity(r))
	if err != nil {
		return err
	}
	out := newLines(w)
	w.WriteHeader(http.StatusOK)
	_ = out.rc.Flush() // the client is gone if this fails, and outputs ends
	for o := range outputs {
		if err := out.write(OutputOf(o)); err != nil {
			return nil
		}
	}
	return nil
}

func (s *Server) postMigrate(w http.ResponseWriter, r *http.Request) error {
	var req Migrate
	if err := readJSON(w, r, &req); err != nil {
		return err
	}
	target, err := s.target(req.To)
	if err != nil {
		return err
	}
	o := host.MigrationOptions{OmitIdentity: req.OmitIdentity, RetryNotReady: defaultRetry}
	m, err := s.rt.StartMigrationWith(r.Context(), entity(r), target, o)
	if err != nil {
		return err
	}
	out := newLines(w)
	if req.Detach {
		return out.write(MigrationStep{Phase: m.Phase().String()})
	}
	for c := range m.Phases(r.Context()) {
		if err := out.write(MigrationStep{Phase: c.Phase.String()}); err != nil {
			return nil // the client detached; the migration goes on
		}
	}
	rep, err := m.Wait(r.Context())
	step := MigrationStep{Report: reportOf(rep)}
	if err != nil {
		step = MigrationStep{Error: NewProblem(err)}
	}
	_ = out.write(step) // the client is gone if this fails
	return nil
}

const defaultRetry = 30e9 // nanoseconds

// target is the node that a migration names, as seen from here.
func (s *Server) target(ref string) (identity.NodeID, error) {
	if ref == "" {
		return 0, fmt.Errorf("%w: a migration needs a target node", errBadRequest)
	}
	if ref == s.mesh.Name() || ref == s.mesh.Self().String() {
		return s.mesh.Self(), nil
	}
	p, err := s.mesh.FindPeer(ref)
	return p.ID, err
}

// postEvent delivers the body as one event, wherever the daemon is.
func (s *Server) postEvent(w http.ResponseWriter, r *http.Request) error {
	payload, err := readAll(w, r, maxEvent)
	if err != nil {
		return err
	}
	sender, err := s.sender(r)
	if err != nil {
		return err
	}
	defer sender.Close()
	t, err := sender.Submit(r.Context(), payload)
	if err != nil {
		return err
	}
	res, err := t.Wait(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, sentOf(res))
}

func (s *Server) sender(r *http.Request) (*wire.Sender, error) {
	id, at, err := s.locate(r, r.PathValue("ref"))
	if err != nil {
		return nil, err
	}
	n, err := numberedOf(r)
	if err != nil {
		return nil, err
	}
	sender, err := s.node.OpenSender(r.Context(), id, at, n.Sender)
	if err == nil && n.First > 0 {
		sender.From(n.First)
	}
	return sender, err
}

func sentOf(res host.Result) Sent {
	out := Sent{Outputs: make([]Output, 0, len(res.Outputs)), Duplicate: res.Duplicate}
	for _, o := range res.Outputs {
		out.Outputs = append(out.Outputs, OutputOf(o))
	}
	return out
}
