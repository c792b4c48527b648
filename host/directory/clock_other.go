//go:build !linux

package directory

import "time"

var started = time.Now()

func sinceBoot() time.Duration { return time.Since(started) }
