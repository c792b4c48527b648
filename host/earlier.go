package host

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/exchange"
	"wasmhost.example/host/internal/lifecycle"
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
	if len(s.before) != 32 {
		return nil
	}
	wasm, err := s.m.rt.Module(s.ctx, store.Digest(s.before))
	if err != nil && !errors.Is(err, daemon.ErrModuleNotFound) {
		return err
	}
	if err := s.send(&migration.Earlier{Module: s.before, Size: uint64(len(wasm))}); err != nil {
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
	s.snap.Header.SetFacts(s.lasting)
	if s.memory != nil {
		return nil // describe seals it
	}
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	if s.d.life.State() != lifecycle.Running {
		return fmt.Errorf("daemon %s takes no events: %w", s.d.id.Origin(), s.d.gone)
	}
	return s.snap.Seal(s.d.key)
}

// arrivingModule is a module on its way here with a daemon.
type arrivingModule struct {
	digest store.Digest
	size   uint64 // that was announced; 0: none comes
	wasm   []byte
}

// announced answers the source that has the module before the daemon's last upgrade.
func (in *incoming) announced(ctx context.Context, c migration.Conn, m *migration.Earlier) error {
	if in.offer.Version < migration.Lasting {
		return migration.Failf(migration.ProtocolError, "a %T in version %d", m, in.offer.Version)
	}
	e, digest := &in.earlier, store.Digest(m.Module)
	if e.size > 0 && (e.digest != digest || e.size != m.Size) {
		return migration.Failf(migration.ProtocolError, "another module before the last upgrade was announced earlier")
	}
	want := in.rt.wantsEarlier(ctx, digest, m.Size)
	if want {
		e.digest, e.size = digest, m.Size
	}
	answer := &migration.EarlierWanted{Want: want}
	if want {
		answer.Have = uint64(len(e.wasm))
	}
	if err := c.Send(answer); err != nil {
		return exchange.CutOff(err)
	}
	return nil
}

// addEarlier takes some of the module, within what was announced.
func (in *incoming) addEarlier(b []byte) error {
	if e := &in.earlier; uint64(len(e.wasm)+len(b)) > e.size {
		return migration.Failf(migration.ProtocolError, "more of the module before the last upgrade came than the %d bytes announced", e.size)
	}
	if err := in.grow(len(b)); err != nil {
		return err
	}
	in.earlier.wasm = append(in.earlier.wasm, b...)
	return nil
}

// keepEarlier adds the module that came where the daemon, by its own signature, had it
// before. A module that is not accepted is left out: the daemon comes all the same.
func (in *incoming) keepEarlier(ctx context.Context) {
	e := &in.earlier
	defer func() {
		in.shrink(int64(len(e.wasm)))
		*e = arrivingModule{}
	}()
	if len(e.wasm) == 0 || in.lasting == nil {
		return
	}
	err := fmt.Errorf("%w: the daemon was not of module %x", daemon.ErrModuleNotFound, e.digest)
	if sum := sha256.Sum256(e.wasm); sum == e.digest && bytes.Equal(in.lasting.Previous, e.digest[:]) {
		_, err = in.rt.addModule(ctx, e.wasm, in.env.Limits.MemoryBytes, false)
	}
	if err != nil {
		in.env.Logger.Warn("a daemon's previous module is not taken: the daemon cannot be rolled back here", "daemon", in.offer.Entity.Origin(), "from", in.from, "error", err)
	}
}
