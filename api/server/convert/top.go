package convert

import (
	"cmp"
	"slices"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/host/daemon"
	"wasmhost.example/identity"
)

// What weighs as much as a processor in GET /v1/top.
const (
	fullTopBytes    = 32 << 20 // bytes of history a second
	fullTopInternal = 20_000   // events a second
)

// TopOf returns the daemons that used most between two looks, the heaviest first.
func TopOf(before, after []daemon.Usage, passed time.Duration, most int) []api.Top {
	was := make(map[identity.EntityID]daemon.Usage, len(before))
	for _, u := range before {
		was[u.Entity] = u
	}
	out := make([]api.Top, 0, len(after))
	for _, u := range after {
		b := was[u.Entity]
		rate := func(n float64) float64 { return max(n, 0) / passed.Seconds() } // below 0: it left and came back
		out = append(out, api.Top{Name: u.Name, EntityID: u.Entity.String(), Origin: u.Entity.Origin().String(), Kind: u.Kind, State: u.State,
			CPU: rate((u.Time - b.Time).Seconds()), Bytes: rate(float64(u.Bytes - b.Bytes)),
			Direct: rate(float64(u.Direct) - float64(b.Direct)), Timers: rate(float64(u.Timers) - float64(b.Timers)),
			Daemons: rate(float64(u.Daemons) - float64(b.Daemons)), Channels: rate(float64(u.Channels) - float64(b.Channels)),
			Waiting: u.Waiting + u.Turns})
	}
	slices.SortFunc(out, func(a, b api.Top) int {
		return cmp.Or(cmp.Compare(weightOf(&b), weightOf(&a)), cmp.Compare(a.EntityID, b.EntityID))
	})
	return out[:min(len(out), most)]
}

// weightOf is by what daemons are ordered.
func weightOf(t *api.Top) float64 {
	return t.CPU + t.Bytes/fullTopBytes + (t.Direct+t.Timers+t.Daemons+t.Channels)/fullTopInternal
}
