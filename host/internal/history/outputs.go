package history

import (
	"context"
	"errors"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// Outputs hands on the outputs after the sequence that records before end
// hold, and returns the sequence of the last.
func Outputs(ctx context.Context, st *store.Store, id identity.EntityID, sequence, end uint64, out chan<- chain.Output) (uint64, error) {
	start := uint64(0)
	if sequence > 0 {
		err := st.ReadHistoryBackward(id, func(index uint64, b []byte) error {
			rec, err := journal.Decode(b)
			if err != nil {
				return err
			}
			if e, ok := rec.(*journal.Event); ok && e.Before.Sequence <= sequence {
				start = index
				return store.ErrStop
			}
			return nil
		})
		if err != nil {
			return sequence, err
		}
	}
	if start >= end {
		return sequence, nil
	}

	err := st.ReadHistory(id, start, end, func(_ uint64, b []byte) error {
		rec, err := journal.Decode(b)
		e, ok := rec.(*journal.Event)
		if err != nil || !ok {
			return err
		}
		for _, o := range e.Links() {
			if o.Link.Sequence <= sequence {
				continue
			}
			o.Payload = append([]byte(nil), o.Payload...)
			select {
			case out <- o:
				sequence = o.Link.Sequence
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	return sequence, err
}

// LastMove returns the checkpoint of the last move of the daemon to the node; nil where the
// history has none.
func LastMove(st *store.Store, id identity.EntityID, to identity.NodeID) (came *chain.Checkpoint, err error) {
	err = st.ReadHistoryBackward(id, func(_ uint64, b []byte) error {
		rec, err := journal.Decode(b)
		if err != nil {
			return err
		}
		if move, ok := rec.(*journal.Move); ok && move.To == to {
			c := move.Checkpoint
			came = &c
			return store.ErrStop
		}
		return nil
	})
	return came, err
}

// Drop says in fact what of a daemon's history is dropped, from the record on: the last
// output, and an epoch above all. What is dropped may be of higher epochs, and is known
// elsewhere: what follows must not be taken for it.
func Drop(st *store.Store, id identity.EntityID, from, end uint64, fact *chain.Mended) error {
	epochs := st.ReadHistory(id, from, end, func(_ uint64, b []byte) error {
		rec, err := journal.Decode(b)
		if err != nil {
			return nil // what is damaged says nothing of epochs
		}
		switch rec := rec.(type) {
		case *journal.Event:
			fact.Epoch = max(fact.Epoch, rec.Epoch+1)
		case *journal.Move:
			fact.Epoch = max(fact.Epoch, rec.Epoch+1)
		case *journal.Mend:
			fact.Epoch = max(fact.Epoch, rec.Fact.Epoch+1)
		}
		return nil
	})

	head := st.ReadHistoryBackward(id, func(index uint64, b []byte) error {
		if index < from {
			return store.ErrStop
		}
		rec, err := journal.Decode(b)
		e, ok := rec.(*journal.Event)
		if err != nil || !ok || len(e.Outputs) == 0 {
			return nil
		}
		links := e.Links()
		last := links[len(links)-1]
		fact.Sequence, fact.Head = last.Link.Sequence, last.Link.Hash(last.Payload)
		return store.ErrStop
	})
	return errors.Join(epochs, head)
}
