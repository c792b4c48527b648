package host

import (
	"fmt"

	"wasmhost.example/host/daemon"
)

// A daemon that comes near one of the limits that grow with what it keeps is named before
// it gets there: in what inspect shows, in the metrics, and once in the log.

// NearPercent is from how much of a limit on a daemon is near it.
const NearPercent = 80

// isNear reports whether what is used is near the most that may be.
func isNear(used, most int64) bool {
	return most > 0 && used >= most/100*NearPercent+most%100*NearPercent/100
}

// nearLimits are the limits that a daemon is told to be near. A memory that cannot grow is
// near none, nor is one that has not grown.
var nearLimits = [...]struct {
	set  daemon.Near
	name string
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
	for i := range nearLimits {
		if n := &nearLimits[i]; isNear(n.used(s), n.most(l)) {
			set |= n.set
		}
	}
	return set
}

// noteNear says in the log that the daemon has come near a limit. It needs d.mu.
func (d *hosted) noteNear() {
	var s standing
	d.stands(&s)
	set := s.near(d.limits())
	fresh := set &^ d.near
	d.near = set
	if fresh == 0 {
		return
	}
	for i := range nearLimits {
		n := &nearLimits[i]
		if fresh&n.set == 0 {
			continue
		}
		used, most := daemon.LimitText(n.name, n.used(&s)), daemon.LimitText(n.name, n.most(d.limits()))
		d.env.Logger.Warn("a daemon is near a limit: events that would pass it will fail", "daemon", d.id.Origin(), "name", d.name, "kind", d.kind, "limit", n.name, "used", used, "most", most)
		d.log.add(2, fmt.Sprintf("it is near its limit %s: %s of %s; events that would pass it will fail", n.name, used, most))
	}
}
