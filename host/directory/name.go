package directory

import (
	"context"
	"errors"
	"fmt"

	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// A name is one daemon's in the whole cluster: the transaction that makes a daemon
// known writes who has its name under a key that nobody has written before.
//
//	the key of the name     | a daemon with it comes            | a daemon with it goes
//	not there               | is written                        | stays so
//	says this daemon        | stays so                          | is removed
//	says one that is known  | refused: NameTakenError           | stays so
//	says one that is not    | is written anew: a node that knew nothing of names removed that one | stays so

// NameTakenError says that another daemon of the cluster has a name.
type NameTakenError struct {
	Name  string
	By    identity.EntityID
	Owner identity.NodeID
}

func (e *NameTakenError) Error() string {
	return fmt.Sprintf("daemon %s on node %s has the name %q", e.By.Origin(), e.Owner, e.Name)
}

type nameRecord struct {
	_       struct{} `cbor:",toarray"`
	Version uint8
	Entity  identity.EntityID
}

func encodeName(id identity.EntityID) ([]byte, error) {
	return canon.Marshal(&nameRecord{Version: recordVersion, Entity: id})
}

func decodeName(b []byte) (identity.EntityID, error) {
	var r nameRecord
	if err := canon.Unmarshal(b, &r); err != nil {
		return identity.EntityID{}, fmt.Errorf("%w: %w", ErrBadRecord, err)
	}
	if r.Version != recordVersion || r.Entity.IsZero() {
		return identity.EntityID{}, fmt.Errorf("%w: version %d of who has a name", ErrBadRecord, r.Version)
	}
	return r.Entity, nil
}

// Create makes a daemon known that the directory does not know, and its name its
// own. *NameTakenError; ErrConflict where the directory knows the daemon. After any
// other error whether it was made is not known, and Read tells.
func (m *Member) Create(ctx context.Context, d Daemon) (Entry, error) {
	value, err := encodeName(d.Entity)
	if err != nil {
		return Entry{}, err
	}

	at := Condition{Key: nameKey(d.Name)} // nobody has it, in most cases
	for {
		e, err := m.put(ctx, Entry{}, &d, []Condition{at}, Write{at.Key, value})
		if !errors.Is(err, ErrConflict) {
			return e, err
		}

		has, revision, err := m.named(ctx, d.Name)
		if err != nil {
			return Entry{}, err
		}
		if has != nil {
			return Entry{}, has
		}
		if revision == at.Revision { // it is not the name
			return Entry{}, fmt.Errorf("%w: daemon %s", ErrConflict, d.Entity.Origin())
		}

		at.Revision = revision
	}
}

// named returns who has a name, nil where nobody does, and the revision of its key.
func (m *Member) named(ctx context.Context, name string) (*NameTakenError, int64, error) {
	ask, done := m.ask(ctx)
	defer done()
	b, revision, err := m.engine.Get(ask, nameKey(name))
	if err != nil || revision == 0 {
		return nil, 0, err
	}

	id, err := decodeName(b)
	if err != nil {
		return nil, 0, err
	}

	switch e, err := m.Read(ctx, id); {
	case errors.Is(err, ErrNotListed):
		return nil, revision, nil
	case err != nil:
		return nil, 0, err
	case e.Name != name:
		return nil, revision, nil
	default:
		return &NameTakenError{Name: name, By: id, Owner: e.Owner}, revision, nil
	}
}

// remove removes what the directory says of a daemon, frees its name, and makes the
// other writes with it.
func (m *Member) remove(ctx context.Context, old Entry, writes ...Write) error {
	var also []Condition
	if old.Owner != m.id {
		also = append(also, Condition{sessionKey(old.Owner), 0})
	}

	ask, done := m.ask(ctx)
	b, revision, err := m.engine.Get(ask, nameKey(old.Name))
	done()
	if err != nil {
		return err
	}

	if revision != 0 {
		if id, err := decodeName(b); err == nil && id == old.Entity {
			also = append(also, Condition{nameKey(old.Name), revision})
			writes = append(writes, Write{Key: nameKey(old.Name)})
		}
	}

	_, err = m.put(ctx, old, nil, also, writes...)
	return err
}
