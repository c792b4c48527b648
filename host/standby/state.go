package standby

import (
	"bytes"
	"crypto/sha256"

	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// StatePart is a record of a daemon's state in the store.
type StatePart struct {
	Table store.Table
	Key   []byte // behind the daemon's id
	Data  []byte
}

// Held returns what a standby that has the record says of it.
func (p *StatePart) Held() HeldPart {
	sum := sha256.Sum256(p.Data)
	return HeldPart{Table: byte(p.Table), Key: p.Key, Sum: sum[:]}
}

// EachStatePart visits the records of the daemon's state in the store, in order. They are
// visit's.
func EachStatePart(st *store.Store, id identity.EntityID, visit func(StatePart) error) error {
	for _, t := range []store.Table{store.Snapshots, store.Deltas} {
		err := st.ScanPrefix(t, id[:], func(k, v []byte) error {
			return visit(StatePart{t, bytes.Clone(k[len(id):]), bytes.Clone(v)})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// SendNow sends the message, and all that was sent before.
func SendNow(c Conn, m Message) error {
	if err := c.Send(m); err != nil {
		return err
	}
	return c.Flush()
}
