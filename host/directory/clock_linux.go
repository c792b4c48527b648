package directory

import (
	"time"

	"golang.org/x/sys/unix"
)

var started = time.Now()

// sinceBoot counts while the machine sleeps, as Go's monotonic clock does not.
func sinceBoot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return time.Since(started) // a kernel before 2.6.39
	}
	return time.Duration(ts.Nano())
}
