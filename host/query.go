package host

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"wasmhost/host/directory"
	"wasmhost/host/migration"
	"wasmhost/identity"
)

// Daemons returns the daemons that this node answers for, by name.
func (r *Runtime) Daemons() []Info {
	r.mu.RLock()
	all := make([]*hosted, 0, len(r.daemons))
	for _, d := range r.daemons {
		all = append(all, d)
	}
	r.mu.RUnlock()
	out := make([]Info, 0, len(all))
	for _, d := range all {
		out = append(out, d.info())
	}
	slices.SortFunc(out, func(a, b Info) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Inspect returns what the daemon is; *MovedError, *NotFoundError.
func (r *Runtime) Inspect(id identity.EntityID) (Info, error) {
	d, err := r.find(id)
	if err != nil {
		return Info{}, err
	}
	return d.info(), nil
}

// AmbiguousError is the error of a prefix that more than one daemon has.
type AmbiguousError struct {
	Ref     string
	Matches []identity.EntityID
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("%q is the beginning of %d daemons' names or ids", e.Ref, len(e.Matches))
}

// Resolve returns the daemon that ref names: by its name, its hexadecimal
// origin or entity id, or a unique prefix of at least four digits of these.
// Daemons that moved away are found too. Errors: ErrNotFound, *AmbiguousError,
// and ErrNotReady while daemons are being recovered.
func (r *Runtime) Resolve(ref string) (identity.EntityID, error) {
	if r.life.Load() == lifeRegistering {
		return identity.EntityID{}, ErrNotReady
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if id, ok := r.names[ref]; ok {
		return id, nil
	}
	if id, err := identity.ParseEntityID(ref); err == nil {
		return id, nil
	}
	found := make(map[identity.EntityID]bool)
	match := func(id identity.EntityID, name string) {
		if name == ref || len(ref) >= 4 && (strings.HasPrefix(id.Origin().String(), ref) || strings.HasPrefix(id.String(), ref)) {
			found[id] = true
		}
	}
	for id, d := range r.daemons {
		match(id, d.name)
	}
	for id, t := range r.moved {
		if !t.Stopped {
			match(id, t.Name)
		}
	}
	if len(found) == 0 && r.cluster != nil {
		r.cluster.member.Named(func(e directory.Entry) bool {
			match(e.Entity, e.Name)
			return false
		})
	}
	switch len(found) {
	case 0:
		if err := r.ready(); err != nil {
			return identity.EntityID{}, err
		}
		return identity.EntityID{}, fmt.Errorf("%w: %q", ErrNotFound, ref)
	case 1:
		for id := range found {
			return id, nil
		}
	}
	e := &AmbiguousError{Ref: ref}
	for id := range found {
		e.Matches = append(e.Matches, id)
	}
	slices.SortFunc(e.Matches, identity.EntityID.Compare)
	return identity.EntityID{}, e
}

// Logs returns the daemon's last log lines, oldest first.
func (r *Runtime) Logs(id identity.EntityID) ([]LogLine, error) {
	d, err := r.find(id)
	if err != nil {
		return nil, err
	}
	return d.log.all(), nil
}

// FollowLogs returns the daemon's log lines from now on. The channel is closed
// when ctx ends, the daemon leaves, or the reader lags too far behind.
func (r *Runtime) FollowLogs(ctx context.Context, id identity.EntityID) (<-chan LogLine, error) {
	d, err := r.find(id)
	if err != nil {
		return nil, err
	}
	return d.log.feed.stream(ctx, keptLines, r.following(), func(l *LogLine) int64 { return int64(len(l.Text)) }), nil
}

// MigrationPhase returns where the daemon's migration stands that leaves this
// node, or was ordered by it; false when there is none.
func (r *Runtime) MigrationPhase(id identity.EntityID) (migration.Phase, bool) {
	r.mu.RLock()
	m := r.outgoing[id]
	if m == nil {
		m = r.ordered[id]
	}
	r.mu.RUnlock()
	if m == nil {
		return 0, false
	}
	return m.Phase(), true
}

// Migrations returns the migrations under way that leave this node, or were
// ordered by it, by entity.
func (r *Runtime) Migrations() []*Migration {
	r.mu.RLock()
	all := slices.AppendSeq(slices.Collect(maps.Values(r.outgoing)), maps.Values(r.ordered))
	r.mu.RUnlock()
	slices.SortFunc(all, func(a, b *Migration) int { return a.entity.Compare(b.entity) })
	return all
}

// Arriving returns the daemons that are on their way here: of some only their
// source can say whether they are this node's by now.
func (r *Runtime) Arriving() []identity.EntityID {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Collect(maps.Keys(r.incoming))
}
