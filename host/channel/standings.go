package channel

import (
	"fmt"

	"wasmhost.example/identity"
)

// MaxStandings is of how many daemons one message speaks.
const MaxStandings = 1024 // daemons of which one message speaks

// MaxTestimony bounds the statement of a Testified, in bytes.
const MaxTestimony = 1 << 20

// Standing is where a daemon stands on a node, as that says. It proves nothing: Locate
// asks for the proof.
type Standing struct {
	_      struct{} `cbor:",toarray"`
	Entity identity.EntityID
	Node   identity.NodeID // where it is
	Epoch  uint64
	Index  uint64 // how many records its history has; 0: not known
}

// Standings tells a node where daemons stand on this one, and asks which of them stand
// elsewhere under the same or a higher epoch. It is answered by Further, or by Refused.
type Standings struct {
	_       struct{} `cbor:",toarray"`
	Version uint8
	Daemons []Standing
}

// Further answers Standings: those daemons that the node has itself, or that went from
// there, under an epoch that is not lower.
type Further struct {
	_       struct{} `cbor:",toarray"`
	Daemons []Standing
}

// Testify asks what the daemon signed at a place of its chain: of the outputs of the
// epoch up to the sequence, the last. It is answered by Testified, or by Refused.
type Testify struct {
	_        struct{} `cbor:",toarray"`
	Version  uint8
	Entity   identity.EntityID
	Epoch    uint64
	Sequence uint64
}

// Testified answers Testify.
type Testified struct {
	_         struct{} `cbor:",toarray"`
	Statement []byte   // as package host encodes it
}

func (*Testify) kind() uint8   { return 22 }
func (*Testified) kind() uint8 { return 23 }

func (m *Testify) check() error {
	if m.Version != Version || m.Entity.IsZero() || m.Epoch == 0 {
		return fmt.Errorf("version %d, epoch %d", m.Version, m.Epoch)
	}
	return nil
}

func (m *Testified) check() error {
	if len(m.Statement) == 0 || len(m.Statement) > MaxTestimony {
		return fmt.Errorf("a statement of %d bytes, at most %d are allowed", len(m.Statement), MaxTestimony)
	}
	return nil
}

func (*Standings) kind() uint8 { return 20 }
func (*Further) kind() uint8   { return 21 }

func (m *Standings) check() error {
	if m.Version != Version {
		return fmt.Errorf("version %d", m.Version)
	}
	return checkStandings(m.Daemons)
}

func (m *Further) check() error { return checkStandings(m.Daemons) }

func checkStandings(list []Standing) error {
	if len(list) > MaxStandings {
		return fmt.Errorf("%d daemons, at most %d are allowed", len(list), MaxStandings)
	}

	for i := range list {
		if s := &list[i]; s.Entity.IsZero() || s.Epoch == 0 || s.Node == 0 {
			return fmt.Errorf("daemon %s on node %s, epoch %d", s.Entity.Origin(), s.Node, s.Epoch)
		}
	}
	return nil
}
