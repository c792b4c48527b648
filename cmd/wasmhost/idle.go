package main

import (
	"strconv"
	"strings"
	"time"

	"wasmhost.example/node"
)

// idleOptions are the settings that say when daemons leave memory.
type idleOptions struct{ after, memory string }

func (o idleOptions) apply(to *node.Config) (err error) {
	if to.PassivateAfter, err = time.ParseDuration(o.after); err != nil || to.PassivateAfter < 0 {
		return usagef("--passivate-after %q is not a duration such as 10m; 0s: never", o.after)
	}
	to.ActiveBytes, err = parseSize(o.memory)
	return err
}

// parseSize reads a number of bytes with an optional unit; empty is 0.
func parseSize(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	digits, shift := s, 0
	for suffix, by := range map[string]int{"KiB": 10, "MiB": 20, "GiB": 30} {
		if d, ok := strings.CutSuffix(s, suffix); ok {
			digits, shift = d, by
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
	if err != nil || n < 0 || n > 1<<(62-shift) {
		return 0, usagef("%q is not a size such as 512MiB or 4GiB", s)
	}
	return n << shift, nil
}
