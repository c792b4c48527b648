package source

import (
	"errors"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/exchange"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/store"
)

// The module before a daemon's last upgrade goes along when the daemon moves, so that it can
// be rolled back where it goes. A target whose rules refuse the module takes the daemon
// without it.

// version is that of the offer.
func (s *sourceWalk) version() uint8 {
	if s.plain {
		return migration.PlainVersion
	}
	return migration.Lasting
}

// accepted hears the target accept the offer. A target of an earlier program refuses its
// version: it is offered the daemon once more, in that program's version.
func (s *sourceWalk) accepted() (*migration.Accept, error) {
	have, err := exchange.Receive[*migration.Accept](s.conn)
	var refused *exchange.Refusal
	if s.plain || !errors.As(err, &refused) || !migration.RefusesVersion(refused.Why, s.version()) {
		return have, err
	}
	s.plain = true
	s.close()
	if s.conn, err = s.peer.OpenMigration(s.ctx); err != nil {
		s.conn = nil
		return nil, err
	}
	if err := s.sendOffer(false); err != nil {
		return nil, err
	}
	return exchange.Receive[*migration.Accept](s.conn)
}

// tellLasting puts into the snapshot what the daemon keeps for life, and sends the module
// before the last upgrade where the target wants it.
func (s *sourceWalk) tellLasting() error {
	if s.plain {
		return nil
	}
	if err := s.sealLasting(); err != nil {
		return err
	}
	if len(s.view.Previous) != 32 {
		return nil
	}
	wasm, err := s.m.of.node.Module(s.ctx, store.Digest(s.view.Previous))
	if err != nil && !errors.Is(err, daemon.ErrModuleNotFound) {
		return err
	}
	if err := s.send(&migration.Earlier{Module: s.view.Previous, Size: uint64(len(wasm))}); err != nil {
		return err
	}
	wanted, err := exchange.Receive[*migration.EarlierWanted](s.conn)
	if err != nil || !wanted.Want {
		return err
	}
	return s.chunks(wasm[min(wanted.Have, uint64(len(wasm))):], func(b []byte, _ bool) migration.Message { return &migration.EarlierChunk{Bytes: b} })
}

// sealLasting puts the facts into the snapshot; one that is sealed already is sealed again.
func (s *sourceWalk) sealLasting() error {
	s.view.Snapshot.Header.SetFacts(s.view.Facts)
	if s.memory != nil {
		return nil // describe seals it
	}
	return s.d.Seal(s.view.Snapshot, nil)
}
