package host

import (
	"cmp"
	"context"
	"slices"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/textlog"
	"wasmhost.example/host/migration"
	"wasmhost.example/identity"
)

// List returns the daemons that this node answers for, by name.
func (r Daemons) List() []daemon.Info {
	all := r.rt.table.Daemons()
	out := make([]daemon.Info, 0, len(all))
	for _, d := range all {
		out = append(out, d.Info())
	}
	slices.SortFunc(out, func(a, b daemon.Info) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Inspect returns what the daemon is; *MovedError, *NotFoundError.
func (r Daemons) Inspect(id identity.EntityID) (daemon.Info, error) {
	d, err := r.rt.find(id)
	if err != nil {
		return daemon.Info{}, err
	}
	return d.Info(), nil
}

// Logs returns the daemon's last log lines, oldest first.
func (r Daemons) Logs(id identity.EntityID) ([]daemon.LogLine, error) {
	d, err := r.rt.find(id)
	if err != nil {
		return nil, err
	}
	return d.Log().All(), nil
}

// FollowLogs returns the daemon's log lines from now on. The channel is closed
// when ctx ends, the daemon leaves, or the reader lags too far behind.
func (r Daemons) FollowLogs(ctx context.Context, id identity.EntityID) (<-chan daemon.LogLine, error) {
	d, err := r.rt.find(id)
	if err != nil {
		return nil, err
	}
	return d.Log().Feed.Stream(ctx, textlog.KeptLines, r.rt.following(), func(l *daemon.LogLine) int64 { return int64(len(l.Text)) }), nil
}

// MigrationPhase returns where the daemon's migration stands that leaves this
// node, or was ordered by it; false when there is none.
func (r *Runtime) MigrationPhase(id identity.EntityID) (migration.Phase, bool) {
	m := r.table.Look(id).Leaving
	if m == nil {
		m = r.departures.Ordered(id)
	}
	if m == nil {
		return 0, false
	}
	return m.Phase(), true
}

// Running returns the migrations under way that leave this node, or were
// ordered by it, by entity.
func (r Migrations) Running() []*Migration {
	leaving, _ := r.rt.table.Moving()
	all := append(leaving, r.rt.departures.AllOrdered()...)
	slices.SortFunc(all, func(a, b *Migration) int { return a.Entity().Compare(b.Entity()) })
	return all
}

// Arriving returns the daemons that are on their way here: of some only their
// source can say whether they are this node's by now.
func (r Migrations) Arriving() []identity.EntityID {
	_, arrivals := r.rt.table.Moving()
	out := make([]identity.EntityID, len(arrivals))
	for i, in := range arrivals {
		out[i] = in.Entity()
	}
	return out
}

// Query asks the daemon's code what changes nothing: it leaves no record and is no event. The
// answer follows from events that are durable and, in a cluster, is given while the node's
// lease holds. Errors: *NotFoundError, *MovedError, daemon.ErrNoQueries,
// daemon.ErrManyQueries, daemon.ErrTooLarge, *daemon.GuestError, the context's while the daemon
// is on its way to another node.
func (r Daemons) Query(ctx context.Context, id identity.EntityID, payload []byte) (daemon.Answer, error) {
	if err := r.rt.ready(); err != nil {
		return daemon.Answer{}, err
	}
	d, err := r.rt.find(id)
	if err != nil {
		return daemon.Answer{}, err
	}
	return d.Mailbox().Query(ctx, payload)
}
