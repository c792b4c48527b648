package chain

import (
	"cmp"
	"errors"
	"io"

	"wasmhost.example/identity"
)

// End is how far a copy goes, as its chain proves.
type End struct {
	Epoch    uint64
	Sequence uint64 // of its last output
	Head     Hash   // of that
}

// EndOf verifies a chain file and returns how far it goes. The chain must be the
// daemon's. Errors are those of Verify, and ErrOriginMismatch.
func EndOf(id identity.EntityID, r io.Reader) (End, error) {
	report, err := Verify(r)
	if err == nil && report.Entity != id {
		err = ErrOriginMismatch
	}
	if err != nil {
		return End{}, err
	}
	return End{Epoch: report.Epoch, Sequence: report.Last, Head: report.Head}, nil
}

// Compare orders standings: the one of the higher epoch goes further, then the one with
// more outputs.
func (s End) Compare(o End) int {
	return cmp.Or(cmp.Compare(s.Epoch, o.Epoch), cmp.Compare(s.Sequence, o.Sequence))
}

// ErrOtherEnd says that a copy is not as it was when it was chosen.
var ErrOtherEnd = errors.New("the copy goes further, or less far, than when it was chosen")
