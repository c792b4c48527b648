package stored

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// Beginning returns the first record of a daemon's history, and its index.
func Beginning(st *store.Store, id identity.EntityID) (first uint64, begin *journal.Begin, err error) {
	err = st.ReadHistory(id, 0, ^uint64(0), func(index uint64, b []byte) error {
		rec, err := journal.Decode(b)
		if err != nil {
			return err
		}
		var ok bool
		if begin, ok = rec.(*journal.Begin); !ok {
			return fmt.Errorf("%w: the history begins with a %T", journal.ErrMalformed, rec)
		}
		first = index
		return store.ErrStop
	})
	if err == nil && begin == nil {
		err = fmt.Errorf("%w: there is no history", store.ErrCorrupt)
	}
	return first, begin, err
}

// BeginningAt returns the journal.Begin of a history that begins before record
// to, unsigned: what the records until there come to.
func BeginningAt(ctx context.Context, st *store.Store, id store.ID, to uint64) (*journal.Begin, error) {
	var begin *journal.Begin
	err := st.ReadHistory(id, 0, to, func(index uint64, b []byte) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		rec, err := journal.Decode(b)
		if err != nil {
			return fmt.Errorf("history record %d: %w", index, err)
		}
		if first, ok := rec.(*journal.Begin); ok {
			begin = first
			return nil
		}
		if begin == nil {
			return fmt.Errorf("%w: the history begins with a %T", journal.ErrMalformed, rec)
		}
		switch rec := rec.(type) {
		case *journal.Event:
			begin.Applied, begin.Time = rec.Applied, max(begin.Time, rec.Time)
			if links := rec.Links(); len(links) > 0 {
				last := links[len(links)-1]
				begin.Head, begin.HeadPayload = last.Link, last.Payload
			}
		case *journal.Move:
			begin.Epoch = rec.Epoch
		case *journal.Mend:
			begin.Epoch = rec.Fact.Epoch
		case *journal.Upgrade:
			begin.Module = rec.To
		}
		return nil
	})
	if err == nil && begin == nil {
		err = errors.New("there is no history")
	}
	return begin, err
}

// Latest reads the stored snapshot of a daemon that may store another
// meanwhile.
func Latest(st *store.Store, id identity.EntityID) (uint64, *snapshot.Snapshot, error) {
	for {
		value, err := st.Get(store.Snapshots, id[:])
		if err != nil {
			return 0, nil, err
		}
		index, s, err := Read(st, value, id)
		if err == nil {
			return index, s, nil
		}
		if now, getErr := st.Get(store.Snapshots, id[:]); getErr != nil || bytes.Equal(now, value) {
			return 0, nil, errors.Join(err, getErr)
		}
	}
}
