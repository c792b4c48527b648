package engine

import "wasmhost.example/host/daemon"

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
