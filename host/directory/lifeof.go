package directory

import (
	"context"

	"wasmhost.example/identity"
)

// LifeOf asks an engine what a node said of its process last; nil: nothing. It needs no
// session.
func LifeOf(ctx context.Context, e Engine, id identity.NodeID) ([]byte, error) {
	life, _, err := e.Get(ctx, lifeKey(id))
	return life, err
}
