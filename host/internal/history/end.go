package history

import (
	"wasmhost.example/host/chain"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/internal/stored"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// endRecords is how far back the end of a history is looked for that says where its
// daemon stands.
const endRecords = 8

// End returns where a daemon stands by the end of its history; nil where the last few
// records do not say.
func End(st *store.Store, id identity.EntityID) (out *stored.Passive) {
	looked := 0
	err := st.ReadHistoryBackward(id, func(_ uint64, b []byte) error {
		if looked++; looked > endRecords {
			return store.ErrStop
		}
		rec, err := journal.Decode(b)
		if err != nil {
			return err
		}
		switch rec := rec.(type) {
		case *journal.Event:
			c := chain.At(rec.Before, rec.Parent)
			for _, o := range rec.Outputs {
				c.Append(rec.Epoch, rec.Applied, o)
			}
			out = &stored.Passive{Epoch: rec.Epoch, Sequence: c.Sequence(), HeadHash: c.HeadHash(), Applied: rec.Applied, Emitted: c.Sequence()}
			return store.ErrStop
		case *journal.Begin:
			c := chain.New(rec.Head, rec.HeadPayload)
			out = &stored.Passive{Epoch: rec.Epoch, Sequence: rec.Head.Sequence, HeadHash: c.HeadHash(), Applied: rec.Applied, Emitted: rec.Head.Sequence}
			return store.ErrStop
		case *journal.Checkpoint, *journal.Failure:
			return nil
		default:
			return store.ErrStop
		}
	})
	if err != nil {
		return nil // who reads the whole says what is wrong
	}
	return out
}
