package source

import (
	"context"
	"fmt"

	"wasmhost.example/host/migration"

	"wasmhost.example/host/chain"
)

var errTakenBack = migration.Failf(migration.Cancelled, "the daemon was taken back: the target is held to be gone for good")

// TakeBack ends the walk that brings the release to the target, and serves the
// daemon here. migration.ErrSettled where it is not released, or the target has confirmed.
func (m *Migration) TakeBack(ctx context.Context) (chain.Mended, error) {
	m.mu.Lock()
	if m.at.Phase() != migration.TakenBack {
		if err := m.step(migration.Overruled, migration.Operator); err != nil {
			m.mu.Unlock()
			return chain.Mended{}, fmt.Errorf("%w: %s: %w", migration.ErrSettled, m.entity.Origin(), err)
		}
		close(m.takenBack)
	}
	rel := m.release
	m.mu.Unlock()

	select {
	case <-m.done:
	case <-ctx.Done():
		return chain.Mended{}, context.Cause(ctx)
	}
	return m.d.TakeBack(rel.Epoch + 1)
}
