package locate

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
	"wasmhost.example/api/server/internal/query"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/host/daemon"
	"wasmhost.example/identity"
)

// A request names a daemon by a whole reference (host.ParseRef). One that only looks may
// say prefix=true: then the beginning of an id does, where no node has the reference.

// latest returns, of what the peers said, the daemons that match holds of: of each the
// answer of the highest epoch. Answers that are about something else are left out.
func latest(said map[identity.NodeID]api.Daemon, match func(identity.EntityID, string) bool) []api.Daemon {
	best := make(map[identity.EntityID]api.Daemon)
	for _, d := range said {
		id, err := identity.ParseEntityID(d.EntityID)
		if _, nodeErr := identity.ParseNodeID(d.NodeID); err != nil || nodeErr != nil || !match(id, d.Name) {
			continue
		}
		if old, ok := best[id]; !ok || d.Epoch > old.Epoch {
			best[id] = d
		}
	}
	out := make([]api.Daemon, 0, len(best))
	for _, d := range best {
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b api.Daemon) int { return strings.Compare(a.EntityID, b.EntityID) })
	return out
}

// lookFor finds the daemon whose id begins with text, here or at the peers. It is for
// requests that look.
func (f *Finder) lookFor(r *http.Request, text string) (daemon.Ref, error) {
	ids, err := f.here.BegunBy(text)
	if err != nil {
		return daemon.Ref{}, err
	}
	if !query.Of(r).Is("local") && r.Header.Get(web.HopsHeader) == "" {
		theirs, err := f.lookAtPeers(r.Context(), text)
		if err != nil {
			return daemon.Ref{}, err
		}
		ids = append(ids, theirs...)
	}
	slices.SortFunc(ids, identity.EntityID.Compare)
	ids = slices.Compact(ids)
	switch len(ids) {
	case 0:
		return daemon.Ref{}, daemon.ErrNotFound
	case 1:
		return daemon.ParseRef(ids[0].String())
	}
	return daemon.Ref{}, &daemon.AmbiguousError{Ref: text, Matches: ids}
}

// lookAtPeers returns the daemons of peers whose id begins with text. Where a peer has
// several, so that it names none, that is the error.
func (f *Finder) lookAtPeers(ctx context.Context, text string) ([]identity.EntityID, error) {
	var several error
	said, _, err := AskAll(ctx, f, func(ctx context.Context, c *client.Client) (looked, error) {
		d, err := c.Daemons().GetHereByPrefix(ctx, text)
		return lookedOf(d, err)
	})
	if err != nil {
		return nil, err
	}
	one := make(map[identity.NodeID]api.Daemon)
	for at, l := range said {
		if l.several != nil {
			several = l.several
			continue
		}
		one[at] = l.Daemon
	}
	if several != nil {
		return nil, several
	}
	var out []identity.EntityID
	for _, d := range latest(one, func(id identity.EntityID, _ string) bool { return daemon.BeginsID(id, text) }) {
		id, err := identity.ParseEntityID(d.EntityID)
		if err != nil {
			return nil, err
		}
		out = append(out, id)
	}
	return out, nil
}

// looked is what a peer has that is named as was asked: a daemon, or several.
type looked struct {
	api.Daemon
	several *api.Problem // that says so
}

func lookedOf(d api.Daemon, err error) (looked, error) {
	var p *api.Problem
	if errors.As(err, &p) && p.Code == "ambiguous" {
		return looked{several: p}, nil
	}
	return looked{Daemon: d}, err
}
