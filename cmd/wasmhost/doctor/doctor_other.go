//go:build !linux

package doctor

import "time"

func fileLimit() (uint64, bool)         { return 0, false }
func clockError() (time.Duration, bool) { return 0, false }
