package store

import (
	"bytes"
	"errors"
	"fmt"
)

// A Part is one change of what the store keeps of a daemon: its history, its
// snapshot, its deltas. Parts of a batch can be made on another store, and reach
// nothing there but what that keeps of the same daemon.
type Part struct {
	_     struct{} `cbor:",toarray"`
	Table byte     // h, s or e
	Kind  byte     // s: set; d: delete; r: delete from Key up to, and without, Value, or all from Key on where it is empty
	Key   []byte   // behind the daemon's id
	Value []byte
}

// Size is how many bytes the part takes, about.
func (p *Part) Size() int { return len(p.Key) + len(p.Value) + 32 }

// ErrBadPart says that a part reaches beyond the daemon.
var ErrBadPart = errors.New("a change of something else than the daemon")

func partial(t Table) bool { return t == history || t == Snapshots || t == Deltas }

// Files returns the digests of the files that the batch speaks of. They are no parts, but
// values of parts name them.
func (b *Batch) Files() []Digest {
	var out []Digest
	for i := range b.ops {
		if f := b.ops[i].file; f != nil {
			out = append(out, f.Digest())
		}
	}
	return out
}

// HasFiles reports whether a state of the daemon is in a file of its own.
func (s *Store) HasFiles(id ID) bool {
	s.states.mu.Lock()
	defer s.states.mu.Unlock()
	return len(s.states.of[id]) > 0
}

// Parts returns what of the batch is about the daemon. The values are the
// batch's, which keeps them unchanged.
func (b *Batch) Parts(id ID) []Part {
	var out []Part
	for _, o := range b.ops {
		t := Table(o.key[0])
		if !partial(t) || !bytes.HasPrefix(o.key[1:], id[:]) {
			continue
		}

		p := Part{Table: byte(t), Kind: o.kind, Key: o.key[1+len(id):], Value: o.value}
		if o.kind == 'r' {
			p.Value = nil
			if rest, ok := bytes.CutPrefix(o.value, o.key[:1+len(id)]); ok {
				p.Value = rest
			}
		}

		out = append(out, p)
	}

	return out
}

// AddPart adds a change of what the store keeps of the daemon. The batch keeps
// the part's bytes.
func (b *Batch) AddPart(id ID, p Part) error { return b.AddPartFile(id, p, nil) }

// AddPartFile is AddPart of a part that sets a value which speaks of the file; the batch
// takes that over where there is no error.
func (b *Batch) AddPartFile(id ID, p Part, f *StateFile) error {
	if f != nil && (p.Kind != 's' || Table(p.Table) == history) {
		return fmt.Errorf("%w: a file with a change of kind %q of table %q", ErrBadPart, p.Kind, p.Table)
	}
	if t := Table(p.Table); !partial(t) || len(p.Key) > 16 || p.Kind == 's' && t == history && len(p.Key) != 8 {
		return fmt.Errorf("%w: table %q, key %x", ErrBadPart, p.Table, p.Key)
	}

	k := append(key(Table(p.Table), id[:]), p.Key...)
	switch p.Kind {
	case 's':
		b.add(op{kind: 's', key: k, value: p.Value, file: f})
	case 'd':
		b.add(op{kind: 'd', key: k})
	case 'r':
		to := after(key(Table(p.Table), id[:]))
		if len(p.Value) > 0 {
			to = append(key(Table(p.Table), id[:]), p.Value...)
		}
		b.add(op{kind: 'r', key: k, value: to})

	default:
		return fmt.Errorf("%w: kind %q", ErrBadPart, p.Kind)
	}

	return nil
}

// RecordPart is the Part that sets the history record at index.
func RecordPart(id ID, index uint64, rec []byte) Part {
	return Part{Table: byte(history), Kind: 's', Key: historyKey(id, index)[1+len(id):], Value: rec}
}

// StatePart is a Part that sets the daemon's snapshot, or a delta under the key
// behind its id.
func StatePart(t Table, rest, value []byte) Part {
	return Part{Table: byte(t), Kind: 's', Key: rest, Value: value}
}

// ForgetParts are those that remove all that is kept of a daemon.
func ForgetParts() []Part {
	return []Part{{Table: byte(history), Kind: 'r'}, {Table: byte(Snapshots), Kind: 'd'}, {Table: byte(Deltas), Kind: 'r'}}
}

// ForgetStateParts are those that remove the state alone.
func ForgetStateParts() []Part {
	return []Part{{Table: byte(Snapshots), Kind: 'd'}, {Table: byte(Deltas), Kind: 'r'}}
}
