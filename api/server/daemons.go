package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
	"wasmhost.example/api/server/convert"
	"wasmhost.example/api/server/internal/access"
	"wasmhost.example/api/server/internal/groups"
	"wasmhost.example/api/server/internal/lines"
	"wasmhost.example/api/server/internal/query"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/api/server/problem"
	"wasmhost.example/host"
	"wasmhost.example/host/budget"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
)

// getDaemons lists the daemons of this node; with all those that left too,
// and the peers'.
func (s *Server) getDaemons(w http.ResponseWriter, r *http.Request) error {
	if !query.Of(r).Is("all") {
		return s.listHere(w, r)
	}
	out := []api.Daemon{}
	for _, i := range s.rt.Daemons().List() {
		out = append(out, convert.DaemonOf(i))
	}
	if err := s.rt.Ready(); err != nil {
		return err
	}
	theirs, silent, err := s.find.AskOwnersAll(r.Context(), func(ctx context.Context, c *client.Client) ([]api.Daemon, error) { return c.Daemons().List(ctx, false) })
	if err != nil {
		return err
	}
	for _, list := range theirs {
		out = append(out, list...)
	}
	if len(silent) > 0 {
		s.logger.Warn("peers do not list their daemons", "peers", silent)
	}
	here := make(map[string]bool)
	for _, d := range out {
		here[d.EntityID] = true
	}
	moved, err := s.rt.Places().Moved()
	if err != nil {
		return err
	}
	for _, m := range moved {
		if !here[m.Entity.String()] { // its node did not answer
			out = append(out, api.Daemon{Origin: m.Entity.Origin().String(), EntityID: m.Entity.String(), NodeID: m.Node.String(), Epoch: m.Epoch, State: "moved"})
		}
	}
	slices.SortFunc(out, func(a, b api.Daemon) int { return strings.Compare(daemonKey(a), daemonKey(b)) })
	return web.WritePage(w, r, out, daemonKey)
}

func (s *Server) postDaemon(w http.ResponseWriter, r *http.Request) error {
	var req api.Spawn
	if err := web.ReadJSON(w, r, &req); err != nil {
		return err
	}
	own, err := daemon.LimitsOf(req.Limits)
	if err != nil {
		return err
	}
	spawn := daemon.SpawnRequest{Kind: req.Kind, Name: req.Name, Config: req.Config, Limits: own, Standbys: req.Standbys}
	if spawn.Ack, err = directory.ParseAck(req.Ack); err != nil {
		return err
	}
	if len(req.Identity) > 0 {
		if spawn.Identity, err = identity.FromSeed(req.Identity); err != nil {
			return err
		}
	}
	if spawn.Grants, err = s.grantsOf(r, api.Grants{MayPublish: req.MayPublish, MaySend: req.MaySend}); err != nil {
		return err
	}
	if err := s.notElsewhere(r.Context(), spawn); err != nil {
		return err
	}
	if err := s.learnKind(r.Context(), req.Kind); err != nil {
		return err
	}
	if req.Place != nil && len(req.Subscribe) > 0 {
		return fmt.Errorf("%w: a daemon is subscribed when it is where it is to be: give either place or subscribe", api.ErrBadRequest)
	}
	if req.Place != nil {
		d, err := s.spawnWhere(r.Context(), spawn, *req.Place)
		if err != nil {
			return err
		}
		return web.WriteJSON(w, d)
	}
	i, err := s.rt.Spawn(r.Context(), spawn)
	if err != nil {
		return err
	}
	if err := s.spawnSubscribed(r.Context(), i.Entity, req.Subscribe); err != nil {
		return err
	}
	return s.writeDaemon(w, i)
}

// postSnapshot makes a daemon of the snapshot in the body. The seed of its
// identity may stand in the header Wasmhost-Identity, in hexadecimal.
func (s *Server) postSnapshot(w http.ResponseWriter, r *http.Request) error {
	q := query.Of(r)
	spawn := daemon.SpawnRequest{Kind: q.Text("kind"), Name: q.Text("name"), Unsigned: q.Is("unsigned")}
	if h := r.Header.Get(api.IdentityHeader); h != "" {
		var seed [32]byte
		if err := web.HexInto(seed[:], h); err != nil {
			return err
		}
		var err error
		if spawn.Identity, err = identity.FromSeed(seed[:]); err != nil {
			return err
		}
	}
	snap, err := snapshot.Read(http.MaxBytesReader(w, r.Body, maxSnapshot), maxSnapshot)
	switch {
	case errors.Is(err, daemon.ErrBadSnapshot), errors.Is(err, problem.ErrBodiesFull):
		return err
	case err != nil:
		return fmt.Errorf("%w: reading the body: %w", api.ErrBadRequest, err)
	}
	if err := s.entityNotElsewhere(r.Context(), snap.Header.Entity); err != nil {
		return err
	}
	i, err := s.rt.SpawnFromDecoded(r.Context(), spawn, snap)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, convert.DaemonOf(i))
}

// notElsewhere makes sure that no node that answers runs the daemon that is to
// be spawned, and that the name is not that of a daemon which went elsewhere.
func (s *Server) notElsewhere(ctx context.Context, spawn daemon.SpawnRequest) error {
	if spawn.Identity != nil {
		if err := s.entityNotElsewhere(ctx, spawn.Identity.ID()); err != nil {
			return err
		}
	}
	id, err := s.rt.Daemons().Resolve(spawn.Name)
	if err != nil || daemon.LooksLikeID(spawn.Name) { // such a name is refused where the daemon is made
		return nil
	}
	var moved *daemon.MovedError
	if _, err := s.rt.Daemons().Inspect(id); !errors.As(err, &moved) {
		return nil
	}
	claims, _, _ := s.find.AskOwners(ctx, daemon.RefTo(id))
	for _, c := range claims {
		if c.Said.Name == spawn.Name {
			return fmt.Errorf("%w: %q is on node %s", daemon.ErrNameTaken, c.Said.Name, c.Node)
		}
	}
	return nil
}

func (s *Server) entityNotElsewhere(ctx context.Context, id identity.EntityID) error {
	if claims, _, _ := s.find.AskOwners(ctx, daemon.RefTo(id)); len(claims) > 0 {
		return fmt.Errorf("%w: %s is on node %s", daemon.ErrAlreadyPresent, id.Origin(), claims[0].Node)
	}
	return nil
}

func (s *Server) getDaemon(w http.ResponseWriter, r *http.Request) error {
	i, err := s.rt.Daemons().Inspect(web.Entity(r))
	if err != nil {
		return err
	}
	return s.writeDaemon(w, i)
}

// writeDaemon answers about one daemon.
func (s *Server) writeDaemon(w http.ResponseWriter, i daemon.Info) error {
	d := convert.DaemonOf(i)
	var err error
	if d.Receipts, err = s.receiptsOf(i.Entity); err != nil {
		return err
	}
	list, err := s.rt.Subscriptions().Of(i.Entity)
	if err != nil {
		return err
	}
	d.Subscriptions = convert.SubscriptionsOf(list)
	fork, err := s.rt.Daemons().ForkOf(i.Entity)
	if err != nil { // what cannot be read of its beginning, its state tells
		s.logger.Warn("how a daemon began", "daemon", d.Origin, "error", err)
	}
	d.Fork = convert.ForkOfRecord(fork)
	effects, err := s.rt.Daemons().Effects(i.Entity)
	if err != nil {
		return err
	}
	d.Effects = convert.EffectsOf(effects)
	d.Used = convert.UsedOf(i, effects)
	d.Cluster = s.cluster.KeptOf(i.Entity)
	return web.WriteJSON(w, d)
}

// postStop stops a daemon until it is started.
func (s *Server) postStop(w http.ResponseWriter, r *http.Request) error {
	if err := s.rt.Halt(r.Context(), web.Entity(r)); err != nil {
		return err
	}
	return s.getDaemon(w, r)
}

// postStart starts a daemon that was stopped.
func (s *Server) postStart(w http.ResponseWriter, r *http.Request) error {
	if err := s.rt.Resume(r.Context(), web.Entity(r)); err != nil {
		return err
	}
	return s.getDaemon(w, r)
}

// deleteDaemon removes a daemon; with epoch=N only where it is under that one.
func (s *Server) deleteDaemon(w http.ResponseWriter, r *http.Request) error {
	d, err := s.rt.Daemons().Inspect(web.Entity(r))
	epoch := d.Epoch
	if n, ok := query.Of(r).Number("epoch"); ok {
		epoch = n
	}
	if err == nil {
		err = s.group.StopAt(r.Context(), d.Entity, epoch)
	}
	if err != nil {
		return err
	}
	d.State = "removed"
	return web.WriteJSON(w, convert.DaemonOf(d))
}

func (s *Server) getSnapshot(w http.ResponseWriter, r *http.Request) error {
	snap, err := s.rt.Snapshot(r.Context(), web.Entity(r))
	if err != nil {
		return err
	}
	if snap == nil {
		return fmt.Errorf("%w: %s", problem.ErrStateless, web.Entity(r).Origin())
	}
	w.Header().Set("Content-Type", "application/cbor")
	_, _ = snap.WriteTo(w) // the client sees a cut stream if this fails
	return nil
}

func (s *Server) getChain(w http.ResponseWriter, r *http.Request) error {
	started := web.NewStartedWriter(w)
	err := s.rt.Outputs().Export(r.Context(), web.Entity(r), started)
	if err != nil && started.Began() {
		panic(http.ErrAbortHandler) // cut the stream: the client must not take it for whole
	}
	return err
}

func (s *Server) getLogs(w http.ResponseWriter, r *http.Request) error {
	id := web.Entity(r)
	var follow <-chan daemon.LogLine
	if query.Of(r).Is("follow") {
		var err error
		if follow, err = s.rt.Daemons().FollowLogs(r.Context(), id); err != nil {
			return err
		}
	}
	kept, err := s.rt.Daemons().Logs(id)
	if err != nil {
		return err
	}
	out := lines.New(w, r)
	for _, l := range kept {
		if err := out.Write(api.LogLine(l)); err != nil {
			return nil // the client is gone
		}
	}
	if follow == nil {
		return nil
	}
	_ = out.Flush() // the client is gone if this fails, and follow ends
	for l := range follow {
		if err := out.Write(api.LogLine(l)); err != nil {
			return nil
		}
	}
	return nil
}

// tailOf follows the daemon's outputs from now on, or from that after
// ?after=ORIGIN:N or ?after=N.
func (s *Server) tailOf(r *http.Request) (<-chan chain.Output, error) {
	text := r.Header.Get("Last-Event-ID") // a browser that connects again
	if q := query.Of(r); q.Has("after") && text == "" {
		text = q.Text("after")
	} else if text == "" {
		return s.rt.Outputs().Tail(r.Context(), web.Entity(r))
	}
	origin, sequence, whole := strings.Cut(text, ":")
	if !whole {
		sequence = text
	} else if origin != web.Entity(r).Origin().String() {
		return nil, fmt.Errorf("%w: the daemon is %s, the cursor is of an output of %s", host.ErrCursorGone, web.Entity(r).Origin(), origin)
	}
	after, err := query.ParseNumber(sequence)
	if err != nil {
		return nil, fmt.Errorf("%w: after: %w", api.ErrBadRequest, err)
	}
	if whole {
		if err := s.rt.Outputs().Reaches(r.Context(), web.Entity(r), after); err != nil {
			return nil, err
		}
	}
	return s.rt.Outputs().TailAfter(r.Context(), web.Entity(r), after)
}

func (s *Server) getTail(w http.ResponseWriter, r *http.Request) error {
	outputs, err := s.tailOf(r)
	if err != nil {
		return err
	}
	out := web.NewFollowing(w, r, s.rt.Node().Budgets().Followers)
	defer out.Close()
	out.Begin()
	for o := range outputs {
		if out.Output(&o) != nil {
			return nil // the client is gone, or was cut
		}
	}
	return nil
}

func (s *Server) postMigrate(w http.ResponseWriter, r *http.Request) error {
	var req api.Migrate
	if err := web.ReadJSON(w, r, &req); err != nil {
		return err
	}
	target, err := s.find.Target(req.To)
	if err != nil {
		return err
	}
	o, err := convert.MigrationOptionsOf(&req)
	if err != nil {
		return err
	}
	m, err := s.rt.StartMigrationWith(r.Context(), web.Entity(r), target, o)
	if err != nil {
		return err
	}
	out := lines.New(w, r)
	if req.Detach {
		return out.Write(api.MigrationStep{Phase: m.Phase().String()})
	}
	for p := range m.Watch(r.Context()) {
		step := api.MigrationStep{Phase: p.Phase.String(), Bytes: p.Bytes, Done: p.Done, Whole: p.Whole}
		if p.Round != nil {
			r := convert.RoundOf(*p.Round)
			step.Round = &r
		}
		if err := out.Write(step); err != nil {
			return nil // the client detached; the migration goes on
		}
	}
	rep, err := m.Wait(r.Context())
	step := api.MigrationStep{Report: convert.ReportOf(rep)}
	if err != nil {
		step = api.MigrationStep{Error: problem.Of(err)}
	}
	_ = out.Write(step) // the client is gone if this fails
	return nil
}

// naming replaces the target's name by its id, where it is known here: the node
// that has the daemon may know it by another name.
func (s *Server) naming(h web.Handler) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		var req api.Migrate
		if err := web.ReadJSON(w, r, &req); err != nil {
			return err
		}
		if id, err := s.find.Target(req.To); err == nil {
			req.To = id.String()
		} else if !errors.Is(err, mesh.ErrUnknownNode) {
			return err
		}
		b, err := json.Marshal(req)
		if err != nil {
			return err
		}
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
		return h(w, r)
	}
}

// postEvent delivers the body as one event, wherever the daemon is.
func (s *Server) postEvent(w http.ResponseWriter, r *http.Request) error {
	payload, err := web.ReadAll(w, r, api.MaxEvent)
	if err != nil {
		return err
	}
	room, leave := s.guard.AnswerRoom(r.Context())
	defer leave()
	sender, submit, err := s.sender(r, room, nil)
	if err != nil {
		return err
	}
	defer sender.Close()
	t, err := submit(r.Context(), payload)
	if err != nil {
		return err
	}
	defer t.Release()
	res, err := t.Wait(r.Context())
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(web.Guard(w, room).Writer(w)).Encode(convert.SentOf(res)) // the client is gone if this fails
	return nil
}

// submit sends one event after those before it.
type submit func(ctx context.Context, payload []byte) (groups.Ticket, error)

// sender opens a sender to the daemon, or to the group. With ?id=SENDER/NUMBER its
// events are that sender's, from that number on; else nobody can send them again. Of
// answers see wire.Sender.Hold.
func (s *Server) sender(r *http.Request, room, wanted *budget.Budget) (interface{ Close() }, submit, error) {
	named, err := access.EventIDOf(r)
	if err != nil {
		return nil, nil, err
	}
	var from identity.EntityID // zero: nobody's
	if named.Sender != "" {
		if from, err = s.guard.Account(r, named); err != nil {
			return nil, nil, err
		}
	}
	numbered := func(to func(context.Context, daemon.Event) (groups.Ticket, error)) submit {
		ev := daemon.Event{Sender: from, Number: named.Number - 1}
		return func(ctx context.Context, payload []byte) (groups.Ticket, error) {
			ev.Number, ev.Payload = ev.Number+1, payload
			return to(ctx, ev)
		}
	}
	ref := r.PathValue("ref")
	if name, ok := strings.CutPrefix(ref, groups.GroupPrefix); ok {
		g, err := s.group.OpenGroup(r, name, named.Sender != "", room, wanted)
		if err != nil {
			return nil, nil, err
		}
		return g, numbered(g.Submit), nil
	}
	id, at, err := s.find.Locate(r, ref)
	if err != nil {
		return nil, nil, err
	}
	sender, err := s.node.OpenSender(r.Context(), id, at, from)
	if err != nil {
		return nil, nil, err
	}
	sender.Hold(room, nil)
	if named.Sender == "" {
		return sender, func(ctx context.Context, payload []byte) (groups.Ticket, error) {
			return ticketOf(sender.Submit(ctx, payload))
		}, nil
	}
	return sender, numbered(func(ctx context.Context, ev daemon.Event) (groups.Ticket, error) {
		return ticketOf(sender.SubmitEvent(ctx, ev))
	}), nil
}

// ticketOf keeps a nil *wire.Ticket from being a ticket that is not nil.
func ticketOf(t *wire.Ticket, err error) (groups.Ticket, error) {
	if err != nil {
		return nil, err
	}
	return t, nil
}
