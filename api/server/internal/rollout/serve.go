// Package rollout gives all daemons of a kind, or of a group, another version of their code,
// several at a time, on all nodes.
package rollout

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/server/convert"
	"wasmhost.example/api/server/internal/lines"
	"wasmhost.example/api/server/internal/locate"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/api/server/problem"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/registry"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
)

// upgrades is what a rollout does with the daemons of its own node.
type upgrades interface {
	Ready() error
	Upgrade(ctx context.Context, id identity.EntityID, to [32]byte) (daemon.Info, error)
}

// rolloutRoom upgrades many daemons, on all nodes. It keeps nothing from one request to the
// next, and is safe for concurrent use.
type Room struct {
	rt          upgrades
	here        daemons
	mesh        *wire.Mesh
	find        *locate.Finder
	members     func(r *http.Request, group string) (kind string, entities []string, err error) // of a group
	moduleNamed func(kind, version string) ([32]byte, error)
	learnKind   func(ctx context.Context, kind string) error // makes a kind known that peers have
	logger      *slog.Logger
}

// newRolloutRoom makes a rollout's room.
func New(rt upgrades, here daemons, mesh *wire.Mesh, find *locate.Finder, members func(*http.Request, string) (string, []string, error), moduleNamed func(kind, version string) ([32]byte, error), learnKind func(context.Context, string) error, logger *slog.Logger) *Room {
	return &Room{rt: rt, here: here, mesh: mesh, find: find, members: members, moduleNamed: moduleNamed, learnKind: learnKind, logger: logger}
}

// PostRollout upgrades many daemons, and tells how it goes. When the client leaves it begins
// with no other daemon; asked again, it passes over those that are done.
func (o *Room) PostRollout(w http.ResponseWriter, r *http.Request) error {
	var req api.Rollout
	if err := web.ReadJSON(w, r, &req); err != nil {
		return err
	}
	switch {
	case (req.Kind == "") == (req.Group == ""):
		return fmt.Errorf("%w: give either a kind or a group", api.ErrBadRequest)
	case req.To == "":
		return fmt.Errorf("%w: to is empty: give a module's digest, or latest", api.ErrBadRequest)
	case req.Parallel < 0 || req.Parallel > api.MaxRolloutParallel || req.MaxFailures < 0:
		return fmt.Errorf("%w: parallel is 0 to %d, max_failures at least 0", api.ErrBadRequest, api.MaxRolloutParallel)
	}
	kind, members, err := o.rolloutOf(r, &req)
	if err != nil {
		return err
	}
	to, err := o.rolloutModule(r.Context(), kind, req.To)
	if err != nil {
		return err
	}
	daemons, unasked, err := o.daemonsOfKind(r.Context(), kind, members)
	if err != nil {
		return err
	}
	began := time.Now()
	out := lines.New(w, r)
	run := &walk{daemons: daemons, to: hex.EncodeToString(to[:]), parallel: req.Parallel, maxFailures: req.MaxFailures, noRollback: req.NoRollback,
		upgrade: func(ctx context.Context, d api.Rolled, to string) error { return o.rollOne(ctx, kind, d, to) },
		module:  o.moduleNow,
		tell: func(d api.Rolled, p api.RolloutProgress) {
			_ = out.Write(api.RolloutStep{Daemon: &d, Progress: &p}) // a client that is gone ends the request's context
		}}
	if run.parallel == 0 {
		run.parallel = api.DefaultRolloutParallel
	}
	if req.DryRun {
		run.upgrade = func(context.Context, api.Rolled, string) error { return nil }
		tell := run.tell
		run.tell = func(d api.Rolled, p api.RolloutProgress) {
			if d.State == "upgraded" {
				d.State = "would-upgrade"
			}
			tell(d, p)
		}
	}
	progress, err := run.run(r.Context())
	if r.Context().Err() != nil {
		o.logger.Info("a rollout stopped: its client is gone", "kind", kind, "module", run.to[:12], "upgraded", progress.Upgraded, "untouched", progress.Untouched)
		return nil
	}
	step := api.RolloutStep{Summary: &api.RolloutSummary{Module: run.to, RolloutProgress: progress, ElapsedMS: convert.Milliseconds(time.Since(began)), Unasked: unasked}}
	if err != nil {
		step.Error = problem.Of(err)
	}
	_ = out.Write(step) // as above
	return nil
}

// rolloutOf is the kind that the request is about, and where it is about a group the
// entities of its members.
func (o *Room) rolloutOf(r *http.Request, req *api.Rollout) (kind string, members []string, err error) {
	if req.Kind != "" {
		return req.Kind, nil, nil
	}
	return o.members(r, req.Group)
}

// rolloutModule is the digest that the version means on this node.
func (o *Room) rolloutModule(ctx context.Context, kind, version string) (to [32]byte, err error) {
	if version == registry.LatestModule {
		if err := o.learnKind(ctx, kind); err != nil {
			return to, err
		}
		return o.moduleNamed(kind, version)
	}
	if err := web.HexInto(to[:], version); err != nil {
		return to, fmt.Errorf("%w: %q; write its whole digest, 64 hexadecimal digits, or latest", daemon.ErrModuleNotFound, version)
	}
	return to, nil // it may be known where the daemons are
}

// rolloutAsks bounds how long nodes are waited for to list their daemons.
const rolloutAsks = 30 * time.Second

// daemonsOfKind are the daemons of a kind on all nodes, or those of them that members names,
// by name. A node that is not reached is an error: its daemons would be passed over without
// a word. Unasked are nodes that do not let this one see their daemons.
func (o *Room) daemonsOfKind(ctx context.Context, kind string, members []string) (out []api.Rolled, unasked []api.RolloutNode, err error) {
	peers, err := o.find.Owners()
	if err != nil {
		return nil, nil, err
	}
	if err := o.rt.Ready(); err != nil {
		return nil, nil, err
	}
	seen := make(map[string]bool)
	take := func(d api.Daemon, at identity.NodeID) {
		if d.Kind != kind || d.NodeID != at.String() || seen[d.EntityID] || members != nil && !slices.Contains(members, d.EntityID) {
			return
		}
		seen[d.EntityID] = true
		out = append(out, api.Rolled{Name: d.Name, EntityID: d.EntityID, NodeID: d.NodeID, From: d.Module})
	}
	for _, i := range o.here.List() {
		take(convert.DaemonOf(i), o.mesh.Self())
	}
	ctx, cancel := context.WithTimeout(ctx, rolloutAsks)
	defer cancel()
	var mu sync.Mutex
	var asking sync.WaitGroup
	for _, p := range peers {
		asking.Go(func() {
			list, askErr := locate.PeerClient(o.mesh, p.ID).Daemons().List(ctx, false)
			mu.Lock()
			defer mu.Unlock()
			var problem *api.Problem
			switch {
			case errors.As(askErr, &problem):
				unasked = append(unasked, api.RolloutNode{NodeID: p.ID.String(), Name: p.Name, Reason: problem.Error()})
			case askErr != nil:
				err = errors.Join(err, fmt.Errorf("%w: node %s does not list its daemons: %w", mesh.ErrUnreachable, p.ID, askErr))
			}
			for _, d := range list {
				take(d, p.ID)
			}
		})
	}
	asking.Wait()
	if err != nil {
		return nil, nil, err
	}
	for _, id := range members {
		if !seen[id] {
			return nil, nil, fmt.Errorf("%w: %s, a member of the group; heal the group first", daemon.ErrNotFound, id)
		}
	}
	slices.SortFunc(out, func(a, b api.Rolled) int { return strings.Compare(a.Name+"\x00"+a.EntityID, b.Name+"\x00"+b.EntityID) })
	return out, unasked, nil
}

// rolloutTries is how often a daemon is tried that is moving, or whose node does not answer.
const rolloutTries = 3

// rollOne upgrades one daemon, where it is.
func (o *Room) rollOne(ctx context.Context, kind string, d api.Rolled, to string) error {
	id, err := identity.ParseEntityID(d.EntityID)
	if err != nil {
		return err
	}
	pause := 200 * time.Millisecond
	for try := 1; ; try++ {
		var now api.Daemon
		if now, err = o.whereIs(ctx, d); err == nil && now.Module == to {
			return nil // an answer was lost, or another hand did it
		}
		if err == nil {
			at, parseErr := identity.ParseNodeID(now.NodeID)
			switch {
			case parseErr != nil:
				return parseErr
			case at == o.mesh.Self():
				err = o.upgradeHere(ctx, id, kind, to)
			default:
				_, err = locate.PeerClient(o.mesh, at).Daemons().Upgrade(ctx, d.EntityID, api.Upgrade{To: to})
			}
		}
		if err == nil || try == rolloutTries || !mayPass(err) || ctx.Err() != nil {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
		pause *= 2
	}
}

// mayPass reports whether an upgrade that failed so may go well in a moment: the daemon
// moved meanwhile, or its node did not answer.
func mayPass(err error) bool {
	var moved *daemon.MovedError
	var said *api.Problem
	if errors.As(err, &said) {
		return said.Code == problem.Of(&daemon.MovedError{}).Code || said.Status == http.StatusServiceUnavailable
	}
	return errors.As(err, &moved) || errors.Is(err, mesh.ErrUnreachable)
}

// whereIs asks for the daemon here, at the node where it was, and then at all.
func (o *Room) whereIs(ctx context.Context, d api.Rolled) (api.Daemon, error) {
	id, err := identity.ParseEntityID(d.EntityID)
	if err != nil {
		return api.Daemon{}, err
	}
	i, err := o.here.Inspect(id)
	if err == nil {
		return convert.DaemonOf(i), nil
	}
	at, parseErr := identity.ParseNodeID(d.NodeID)
	var moved *daemon.MovedError
	if errors.As(err, &moved) {
		at, parseErr = moved.Node, nil
	}
	if parseErr != nil || at == o.mesh.Self() {
		return api.Daemon{}, err
	}
	return locate.PeerClient(o.mesh, at).Daemons().Get(ctx, d.EntityID)
}

func (o *Room) moduleNow(ctx context.Context, d api.Rolled) (string, error) {
	now, err := o.whereIs(ctx, d)
	return now.Module, err
}

// upgradeHere upgrades a daemon of this node.
func (o *Room) upgradeHere(ctx context.Context, id identity.EntityID, kind, to string) error {
	digest, err := o.moduleNamed(kind, to)
	if err == nil {
		_, err = o.rt.Upgrade(ctx, id, digest)
	}
	return err
}

// daemons are those of the node.
type daemons interface {
	List() []daemon.Info
	Inspect(identity.EntityID) (daemon.Info, error)
}
