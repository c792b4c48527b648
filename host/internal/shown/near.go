package shown

import (
	"wasmhost.example/host/daemon"
)

// isNear reports whether what is used is near the most that may be.
func isNear(used, most int64) bool {
	return most > 0 && used >= most/100*daemon.NearPercent+most%100*daemon.NearPercent/100
}

// Limits are the limits that a daemon is told to be near. A memory that cannot grow is
// near none, nor is one that has not grown.
var Limits = [...]struct {
	Set  daemon.Near
	Name string
	Used func(*Standing) int64
	Most func(*daemon.Limits) int64
}{
	{daemon.NearMemory, "memory", func(s *Standing) int64 {
		if s.Memory <= s.Least {
			return 0
		}
		return s.Memory
	}, func(l *daemon.Limits) int64 { return l.MemoryBytes }},
	{daemon.NearStateBytes, "state-bytes", func(s *Standing) int64 { return s.Stored }, func(l *daemon.Limits) int64 { return l.StateBytes }},
	{daemon.NearSenders, "senders", func(s *Standing) int64 { return int64(s.Senders) }, func(l *daemon.Limits) int64 { return int64(l.Senders) }},
}

// Near returns which of Limits the daemon is near.
func (s *Standing) Near(l *daemon.Limits) (set daemon.Near) {
	for i := range Limits {
		if n := &Limits[i]; isNear(n.Used(s), n.Most(l)) {
			set |= n.Set
		}
	}
	return set
}
