package migration

import (
	"time"
)

// What is sent in a round.
const (
	RoundBulk   = "bulk"   // all that the daemon was
	RoundReplay = "replay" // what happened since, for the target to do as well
	RoundPages  = "pages"  // what happened since, and what it changed in memory
)

// Round is one pass over what the target lacks.
type Round struct {
	Number  int // 0 for the first, of all that the daemon was
	How     string
	Records int // of the history
	Blocks  int // of memory, 4 KiB each
	Bytes   int64
	Took    time.Duration // until the target had applied it
	Left    time.Duration // how long the pause is expected to be, by what has gathered since
	Slowed  time.Duration // from one event of the daemon to the next, at least, from here on; 0: it is not slowed
}
