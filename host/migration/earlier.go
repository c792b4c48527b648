package migration

import (
	"fmt"
	"strings"
)

// What version 3 adds: the snapshot says what the daemon keeps for life, and the module
// that it had before its last upgrade goes along, so that it can be rolled back where it
// goes.

// Earlier announces the module before the last upgrade, once, right after Accept (and
// Holds). The target answers with EarlierWanted; where it wants the module, the
// EarlierChunks follow. Source to target.
type Earlier struct {
	_      struct{} `cbor:",toarray"`
	Module []byte   // SHA-256, 32 bytes
	Size   uint64   // bytes; 0: the source does not have it either
}

// EarlierWanted answers Earlier. Target to source.
type EarlierWanted struct {
	_    struct{} `cbor:",toarray"`
	Want bool
	Have uint64 // bytes that came before the connection broke
}

// EarlierChunk carries the next bytes of that module. Source to target.
type EarlierChunk struct {
	_     struct{} `cbor:",toarray"`
	Bytes []byte
}

func (*Earlier) kind() uint8       { return 26 }
func (*EarlierWanted) kind() uint8 { return 27 }
func (*EarlierChunk) kind() uint8  { return 28 }

func (m *Earlier) check() error {
	if len(m.Module) != 32 {
		return fmt.Errorf("module digest of %d bytes", len(m.Module))
	}
	return nil
}

func (m *EarlierWanted) check() error {
	if !m.Want && m.Have != 0 {
		return fmt.Errorf("%d bytes of a module that is not wanted", m.Have)
	}
	return nil
}

func (m *EarlierChunk) check() error { return chunkLen(len(m.Bytes)) }

// Versions of an Offer.
const (
	PlainVersion = Version // without what Earlier says
	Lasting      = 3       // with it
)

// Speaks reports whether this program takes offers of the version.
func Speaks(version uint8) bool { return version == PlainVersion || version == Lasting }

// RefusedVersion is the error by which a target refuses an offer of a version that it does
// not know.
func RefusedVersion(version uint8) *Error {
	return Failf(ProtocolError, "%s, this node speaks %d to %d", versionText(version), PlainVersion, Lasting)
}

// RefusesVersion reports whether the target's refusal is of the offer's version.
func RefusesVersion(e *Error, version uint8) bool {
	return e.Code == ProtocolError && strings.HasPrefix(e.Text, versionText(version))
}

func versionText(version uint8) string {
	return fmt.Sprintf("version %d of the migration protocol", version)
}
