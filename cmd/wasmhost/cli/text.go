package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"wasmhost.example/api"
)

// RoundText says for people what a round of a migration sent.
func RoundText(r *api.Round) string {
	text := fmt.Sprintf("  round %d (%s): %d records, %d blocks, %s in %s", r.Number, r.How, r.Records, r.Blocks, Size(r.Bytes), Millis(r.MS))
	if r.SlowedMS > 0 {
		text += fmt.Sprintf("; the daemon is slowed to an event each %s", Millis(r.SlowedMS))
	}
	return text
}

// WriteUsed writes how much of its bounds a daemon takes, where it takes any.
func WriteUsed(w io.Writer, list []api.Used) {
	for _, u := range list {
		if u.Used == 0 || !u.Near && (u.Limit == "memory" || u.Limit == "state-bytes") {
			continue
		}
		label := "used"
		if u.Near {
			label = "NEAR ITS LIMIT"
		}
		if strings.HasSuffix(u.Limit, "bytes") {
			fmt.Fprintf(w, "%s\t%s: %s of %s\n", label, u.Limit, Size(u.Used), Size(u.Most))
		} else {
			fmt.Fprintf(w, "%s\t%s: %d of %d\n", label, u.Limit, u.Used, u.Most)
		}
	}
}

// Millis is ms milliseconds, rounded for people.
func Millis(ms float64) time.Duration {
	d := time.Duration(ms * float64(time.Millisecond))
	if d > 10*time.Second {
		return d.Round(time.Second)
	}
	if d < 10*time.Millisecond {
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(time.Millisecond)
}

// ParseSize reads a number of bytes with an optional unit; empty is 0.
func ParseSize(s string) (int64, error) {
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
		return 0, Usagef("%q is not a size such as 512MiB or 4GiB", s)
	}
	return n << shift, nil
}

// OrID is a name, or the id of what has none.
func OrID(name, id string) string {
	if name == "" {
		return id
	}
	return name
}
