package channel

import (
	"fmt"

	"wasmhost.example/identity"
)

// Bounds of the question where a daemon is.
const (
	NonceBytes   = 16        // of a Locate
	MaxStatement = 320 << 10 // bytes of a residence statement: 64 receipts of 4 KiB, and the rest
)

// Locate asks a node for its proof that it has a daemon. It is answered by Located, by
// Moved where the node says that the daemon went from there, or by Refused.
type Locate struct {
	_       struct{} `cbor:",toarray"`
	Version uint8
	Entity  identity.EntityID
	Nonce   []byte // drawn by the asker: the answer is made for it
}

// Located answers Locate.
type Located struct {
	_         struct{} `cbor:",toarray"`
	Statement []byte   // a residence statement, as package host encodes it
}

func (*Locate) kind() uint8  { return 18 }
func (*Located) kind() uint8 { return 19 }

func (m *Locate) check() error {
	if m.Version != Version || m.Entity.IsZero() || len(m.Nonce) != NonceBytes {
		return fmt.Errorf("version %d, a nonce of %d bytes", m.Version, len(m.Nonce))
	}
	return nil
}

func (m *Located) check() error {
	if len(m.Statement) == 0 || len(m.Statement) > MaxStatement {
		return fmt.Errorf("a statement of %d bytes, at most %d are allowed", len(m.Statement), MaxStatement)
	}
	return nil
}
