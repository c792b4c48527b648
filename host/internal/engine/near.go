package engine

import (
	"fmt"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/shown"
)

// NoteNear says in the log that the daemon has come near a limit. It needs d.mu.
func (x Upkeep) NoteNear() {
	d := x.d
	var s shown.Standing
	d.stands(&s)
	set := s.Near(d.Limits())
	fresh := set &^ d.near
	d.near = set
	if fresh == 0 {
		return
	}
	for i := range shown.Limits {
		n := &shown.Limits[i]
		if fresh&n.Set == 0 {
			continue
		}
		used, most := daemon.LimitText(n.Name, n.Used(&s)), daemon.LimitText(n.Name, n.Most(d.Limits()))
		d.env.Logger.Warn("a daemon is near a limit: events that would pass it will fail", "daemon", d.id.Origin(), "name", d.name, "kind", d.kind, "limit", n.Name, "used", used, "most", most)
		d.log.Add(2, fmt.Sprintf("it is near its limit %s: %s of %s; events that would pass it will fail", n.Name, used, most))
	}
}
