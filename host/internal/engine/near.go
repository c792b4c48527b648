package engine

import (
	"fmt"

	"wasmhost.example/host/daemon"
)

// isNear reports whether what is used is near the most that may be.
func isNear(used, most int64) bool {
	return most > 0 && used >= most/100*daemon.NearPercent+most%100*daemon.NearPercent/100
}

// NearLimits are the limits that a daemon is told to be near. A memory that cannot grow is
// near none, nor is one that has not grown.
var NearLimits = [...]struct {
	set  daemon.Near
	Name string
	used func(*standing) int64
	most func(*daemon.Limits) int64
}{
	{daemon.NearMemory, "memory", func(s *standing) int64 {
		if s.memory <= s.least {
			return 0
		}
		return s.memory
	}, func(l *daemon.Limits) int64 { return l.MemoryBytes }},
	{daemon.NearStateBytes, "state-bytes", func(s *standing) int64 { return s.stored }, func(l *daemon.Limits) int64 { return l.StateBytes }},
	{daemon.NearSenders, "senders", func(s *standing) int64 { return int64(s.senders) }, func(l *daemon.Limits) int64 { return int64(l.Senders) }},
}

// near returns which of nearLimits the daemon is near.
func (s *standing) near(l *daemon.Limits) (set daemon.Near) {
	for i := range NearLimits {
		if n := &NearLimits[i]; isNear(n.used(s), n.most(l)) {
			set |= n.set
		}
	}
	return set
}

// NoteNear says in the log that the daemon has come near a limit. It needs d.mu.
func (x Upkeep) NoteNear() {
	d := x.d
	var s standing
	d.stands(&s)
	set := s.near(d.Limits())
	fresh := set &^ d.near
	d.near = set
	if fresh == 0 {
		return
	}
	for i := range NearLimits {
		n := &NearLimits[i]
		if fresh&n.set == 0 {
			continue
		}
		used, most := daemon.LimitText(n.Name, n.used(&s)), daemon.LimitText(n.Name, n.most(d.Limits()))
		d.env.Logger.Warn("a daemon is near a limit: events that would pass it will fail", "daemon", d.id.Origin(), "name", d.name, "kind", d.kind, "limit", n.Name, "used", used, "most", most)
		d.log.Add(2, fmt.Sprintf("it is near its limit %s: %s of %s; events that would pass it will fail", n.Name, used, most))
	}
}
