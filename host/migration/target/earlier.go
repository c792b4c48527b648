package target

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/exchange"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/store"
)

// The module before a daemon's last upgrade goes along when the daemon moves, so that it can
// be rolled back where it goes. A target whose rules refuse the module takes the daemon
// without it.

// arrivingModule is a module on its way here with a daemon.
type arrivingModule struct {
	digest store.Digest
	size   uint64 // that was announced; 0: none comes
	wasm   []byte
}

// announced answers the source that has the module before the daemon's last upgrade.
func (in *Arrival) announced(ctx context.Context, c migration.Conn, m *migration.Earlier) error {
	if in.offer.Version < migration.Lasting {
		return migration.Failf(migration.ProtocolError, "a %T in version %d", m, in.offer.Version)
	}
	e, digest := &in.earlier, store.Digest(m.Module)
	if e.size > 0 && (e.digest != digest || e.size != m.Size) {
		return migration.Failf(migration.ProtocolError, "another module before the last upgrade was announced earlier")
	}
	want := in.of.registry.WantsEarlier(ctx, digest, m.Size)
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
func (in *Arrival) addEarlier(b []byte) error {
	if e := &in.earlier; uint64(len(e.wasm)+len(b)) > e.size {
		return migration.Failf(migration.ProtocolError, "more of the module before the last upgrade came than the %d bytes announced", e.size)
	}
	if err := in.room.Grow(len(b)); err != nil {
		return err
	}
	in.earlier.wasm = append(in.earlier.wasm, b...)
	return nil
}

// keepEarlier adds the module that came where the daemon, by its own signature, had it
// before. A module that is not accepted is left out: the daemon comes all the same.
func (in *Arrival) keepEarlier(ctx context.Context) {
	e := &in.earlier
	defer func() {
		in.room.Shrink(int64(len(e.wasm)))
		*e = arrivingModule{}
	}()
	if len(e.wasm) == 0 || in.lasting == nil {
		return
	}
	err := fmt.Errorf("%w: the daemon was not of module %x", daemon.ErrModuleNotFound, e.digest)
	if sum := sha256.Sum256(e.wasm); sum == e.digest && bytes.Equal(in.lasting.Previous, e.digest[:]) {
		_, err = in.of.registry.Add(ctx, e.wasm, in.env.Limits.MemoryBytes, false)
	}
	if err != nil {
		in.env.Logger.Warn("a daemon's previous module is not taken: the daemon cannot be rolled back here", "daemon", in.offer.Entity.Origin(), "from", in.from, "error", err)
	}
}
