package migration

import "fmt"

// BareOffer is an Offer of a daemon whose key does not come along. Where PublicOnly is
// not set, the target must have the key already, and proves it by Holds right after
// its Accept: the source destroys its own key only then. Source to target.
type BareOffer struct {
	_          struct{} `cbor:",toarray"`
	Offer      Offer    // Identity is not set
	PublicOnly bool     // the daemon is not to sign on the target: the source keeps its key
}

// Holds proves that the target has the daemon's key. Target to source.
type Holds struct {
	_         struct{} `cbor:",toarray"`
	Signature []byte   // the daemon's, 64 bytes
}

func (*BareOffer) kind() uint8 { return 24 }
func (*Holds) kind() uint8     { return 25 }

func (m *BareOffer) check() error {
	if m.Offer.Identity {
		return fmt.Errorf("a bare offer of daemon %s with its identity", m.Offer.Entity.Origin())
	}
	return m.Offer.check()
}

func (m *Holds) check() error {
	if len(m.Signature) != 64 {
		return fmt.Errorf("a signature of %d bytes", len(m.Signature))
	}
	return nil
}
