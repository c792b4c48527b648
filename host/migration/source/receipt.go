package source

import (
	"fmt"

	"wasmhost.example/host/chain"
)

// signMove adds the source's half, to what the target said.
func (m *Migration) signMove(said []byte) (*chain.Receipt, error) {
	rec, err := chain.DecodeReceipt(said)
	if err != nil {
		return nil, err
	}
	mine, err := m.d.Facts(m.id, m.env.Self, m.target, m.release, m.root)
	if err != nil {
		return nil, err
	}
	if !rec.Facts.Equal(&mine) {
		return nil, fmt.Errorf("%w: the target says %+v, it was %+v", chain.ErrBadReceipt, rec.Facts, mine)
	}
	if err := rec.VerifyTarget(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	says := chain.ReceiptSource{Started: m.startedAt, Confirmed: m.env.Clock().UnixNano(), Downtime: uint64(m.downtime),
		Queued: uint64(m.queued), Bytes: uint64(m.bytes), Rounds: uint64(len(m.passes))}
	m.mu.Unlock()
	return rec, rec.SignSource(m.env.Node, says)
}
