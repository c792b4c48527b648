package convert

import (
	"fmt"

	"wasmhost.example/api"
	"wasmhost.example/host"
	"wasmhost.example/host/drain"
	"wasmhost.example/host/placement"
	"wasmhost.example/host/registry"
	"wasmhost.example/wire"
)

// DrainedOf returns what a drain did with one daemon.
func DrainedOf(r drain.Result) *api.Drained {
	out := &api.Drained{Name: r.Name, Origin: r.Entity.Origin().String(), EntityID: r.Entity.String(), State: "moved", Epoch: r.Report.Epoch,
		Bytes: r.Report.Bytes, DowntimeMS: Milliseconds(r.Report.Downtime), Attempts: r.Attempts}
	if r.To != 0 {
		out.To = r.To.String()
	}
	if r.Report.Receipt != nil {
		if sum, err := r.Report.Receipt.Digest(); err == nil {
			out.Receipt = sum.String()
		}
	}
	switch {
	case r.Err != nil:
		out.State, out.Reason = "stayed", r.Err.Error()
	case r.Left:
		out.State = "gone"
	}
	return out
}

// ProgressOf returns how far a drain is.
func ProgressOf(p drain.Progress) *api.DrainProgress {
	return &api.DrainProgress{Total: p.Total, Gone: p.Gone, Stayed: p.Failed, Bytes: p.Bytes, ElapsedMS: Milliseconds(p.Elapsed), RemainingMS: Milliseconds(p.Remaining)}
}

// IncarnationOf returns which incarnation of its node this one is; Number 0: the node was
// never restored.
func IncarnationOf(in host.Incarnation) api.Incarnation {
	if in.Number == 0 {
		return api.Incarnation{Confirmed: in.Confirmed}
	}
	return api.Incarnation{Number: in.Number, Backup: in.Backup, Taken: in.Taken.UTC(), Restored: in.Restored.UTC(), Confirmed: in.Confirmed}
}

// PeerOf returns a trusted node as the API lists it.
func PeerOf(p wire.PeerInfo) api.Node {
	return api.Node{NodeID: p.ID.String(), Name: p.Name, Addr: p.Addr, Key: p.Key.String(), Online: p.Connected, Rights: p.Rights.String(), Denied: p.Denied}
}

// KindOf returns a kind, with the report on its module where withReport says so.
func KindOf(k registry.KindInfo, withReport bool) api.Kind {
	out := api.Kind{Name: k.Name, Digest: k.Digest, Size: k.Size, Pushed: k.Pushed.UTC(), Daemons: k.Daemons}
	if k.Report != nil {
		out.State = k.Report.State
	}
	out.Limits = k.Limits.Map()
	if withReport {
		out.Report = k.Report
	}
	return out
}

// RequirementsOf checks what a request says.
func RequirementsOf(p api.Place) (placement.Requirements, error) {
	if err := placement.CheckTags(p.Where); err != nil {
		return placement.Requirements{}, fmt.Errorf("%w: where: %w", api.ErrBadRequest, err)
	}
	if p.MinFree < 0 {
		return placement.Requirements{}, fmt.Errorf("%w: %d bytes of free memory", api.ErrBadRequest, p.MinFree)
	}
	if err := placement.CheckTags(p.Prefer); err != nil {
		return placement.Requirements{}, fmt.Errorf("%w: prefer: %w", api.ErrBadRequest, err)
	}
	if p.Spread != "" && p.Spread != placement.SpreadNodes {
		if err := placement.CheckTags(map[string]string{p.Spread: "x"}); err != nil {
			return placement.Requirements{}, fmt.Errorf("%w: spread: %w", api.ErrBadRequest, err)
		}
	}
	if p.MaxAlike < 0 {
		return placement.Requirements{}, fmt.Errorf("%w: at most %d daemons of its kind", api.ErrBadRequest, p.MaxAlike)
	}
	return placement.Requirements{Tags: p.Where, MinFreeMemory: p.MinFree, MaxSame: p.MaxAlike, Prefer: p.Prefer, Spread: p.Spread, Pack: p.Pack}, nil
}

// RebalancedOf returns a move that rebalancing chose, before it begins.
func RebalancedOf(m *placement.Move) api.Rebalanced {
	return api.Rebalanced{Name: m.Daemon.Name, EntityID: m.Daemon.Entity.String(), To: m.To.ID.String(), ToName: m.To.Name, Reason: m.Reason}
}
