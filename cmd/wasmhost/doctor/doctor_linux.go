package doctor

import (
	"time"

	"golang.org/x/sys/unix"
)

// fileLimit returns how many files this program may have open.
func fileLimit() (uint64, bool) {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0, false
	}
	return l.Max, true
}

// clockError returns by how much the kernel thinks that its clock may be wrong.
// A clock that nobody keeps is not known.
func clockError() (time.Duration, bool) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil || state == unix.TIME_ERROR {
		return 0, false
	}
	return time.Duration(t.Maxerror) * time.Microsecond, true
}
