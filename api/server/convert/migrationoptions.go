package convert

import (
	"fmt"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/host"
	"wasmhost.example/host/migration"
)

// MigrationOptionsOf are the request's, where they are good.
func MigrationOptionsOf(m *api.Migrate) (host.MigrationOptions, error) {
	o := host.MigrationOptions{OmitIdentity: m.OmitIdentity, PublicOnly: m.PublicOnly, MaxRounds: m.MaxRounds, Rate: m.Rate}
	const most = 365 * 24 * time.Hour
	if !(m.DowntimeMS >= 0 && m.DowntimeMS <= float64(most.Milliseconds())) || m.DeadlineMS < 0 || m.DeadlineMS > most.Milliseconds() ||
		m.Rate < 0 || m.MaxRounds < 0 || m.MaxRounds > migration.MaxRounds {
		return o, fmt.Errorf("%w: a downtime of %g ms, a deadline of %d ms, %d bytes a second, %d rounds: at least 0, at most a year and %d rounds",
			api.ErrBadRequest, m.DowntimeMS, m.DeadlineMS, m.Rate, m.MaxRounds, migration.MaxRounds)
	}
	o.Downtime, o.Deadline = time.Duration(m.DowntimeMS*float64(time.Millisecond)), time.Duration(m.DeadlineMS)*time.Millisecond
	return o, nil
}
