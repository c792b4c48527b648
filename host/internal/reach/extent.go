package reach

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// Of returns how far the store's history of the daemon goes. Epoch is that of
// the last record that has one.
func Of(st *store.Store, id identity.EntityID) (Extent, error) {
	var e Extent
	err := st.ReadHistoryBackward(id, func(index uint64, b []byte) error {
		if e.Next == 0 {
			e.Next, e.Sum = index+1, sha256.Sum256(b)
		}
		rec, err := journal.Decode(b)
		if err != nil {
			return err
		}
		switch rec := rec.(type) {
		case *journal.Event:
			e.Epoch = rec.Epoch
		case *journal.Move:
			e.Epoch = rec.Epoch
		case *journal.Mend:
			e.Epoch = rec.Fact.Epoch
		case *journal.Checkpoint:
			e.Epoch = rec.Checkpoint.Epoch
		case *journal.Begin:
			e.Epoch = rec.Epoch
		default:
			return nil
		}
		return store.ErrStop
	})
	if err == nil && e.Next > 0 && e.Epoch == 0 {
		err = fmt.Errorf("%w: no record of the history has an epoch", store.ErrCorrupt)
	}
	return e, err
}

// SumAt returns the SHA-256 of the history record at an index; nil where it is not
// there.
func SumAt(st *store.Store, id identity.EntityID, index uint64) ([]byte, error) {
	var out []byte
	err := st.ReadHistory(id, index, index+1, func(_ uint64, rec []byte) error {
		sum := sha256.Sum256(rec)
		out = sum[:]
		return nil
	})
	if errors.Is(err, store.ErrCorrupt) { // trimmed, or not reached
		return nil, nil
	}
	return out, err
}

// Prove returns the statement that the history here of the daemon goes as far as e says,
// signed by the daemon's key, which is sealed, under link, to the node's; nil where there is
// none. nonce is the asker's; nil: nobody asked.
func Prove(node *identity.KeyPair, id identity.EntityID, e Extent, sealed, link, nonce []byte) ([]byte, error) {
	if len(sealed) == 0 {
		return nil, nil
	}
	env, err := identity.ParseEnvelope(sealed)
	if err != nil {
		return nil, fmt.Errorf("the daemon's key: %w", err)
	}
	key, err := env.Open(node, link, id)
	if err != nil {
		return nil, fmt.Errorf("the daemon's key: %w", err)
	}
	defer key.Wipe()
	s := &statement{Entity: id, Node: node.ID().Node(), Epoch: e.Epoch, Next: e.Next, Sum: e.Sum[:], Nonce: append([]byte{}, nonce...)}
	return s.sign(key)
}
