package stored

import (
	"errors"
	"fmt"

	"wasmhost.example/host/internal/losses"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// Forget removes all that the store holds of the daemon.
func Forget(b *store.Batch, id identity.EntityID) {
	ForgetRole(b, id)
	b.Delete(store.Snapshots, id[:])
	losses.Delete(b, id)
	b.Delete(store.Meta, snapshot.ArrivingKey(id))
	b.DeleteUnder(store.Deltas, id[:])
	b.DeleteHistory(id)
}

// ForgetRole removes all that makes the daemon this node's, but for its history and
// state.
func ForgetRole(b *store.Batch, id identity.EntityID) {
	for _, t := range []store.Table{store.Daemons, store.Moved, store.Outgoing, store.Incoming, store.Passive, store.Bound, store.Effects, store.Holds} {
		b.Delete(t, id[:])
	}
	losses.Delete(b, id)
}

// Facts reads what a daemon that comes here keeps for life; nil where there is none.
func Facts(st *store.Store, id identity.EntityID) (*snapshot.Facts, error) {
	b, err := st.Get(store.Meta, snapshot.ArrivingKey(id))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	l, err := snapshot.DecodeFacts(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	}
	return l, nil
}
