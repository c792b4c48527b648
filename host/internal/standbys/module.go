package standbys

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/standby"
	"wasmhost.example/host/store"
)

// arrivingModule is a module on its way here with a daemon.
type arrivingModule struct {
	digest store.Digest
	size   uint64 // at most; 0: none comes
	wasm   []byte
}

func (in *receiving) takeModule(ctx context.Context, m *standby.Module) error {
	if int64(len(in.wasm)+len(m.Bytes)) > in.set.env.Limits.ModuleBytes {
		return fmt.Errorf("%w: a module of more than %d bytes", daemon.ErrTooLarge, in.set.env.Limits.ModuleBytes)
	}
	if in.wasm = append(in.wasm, m.Bytes...); !m.Last {
		return nil
	}
	wasm := in.wasm
	in.wasm = nil
	in.s.mu.Lock()
	digest := in.s.module
	in.s.mu.Unlock()
	if got := sha256.Sum256(wasm); string(got[:]) != string(digest) {
		return fmt.Errorf("%w: module %x came for %x", standby.ErrBadMessage, got, digest)
	}
	return in.keepModule(ctx, wasm)
}

func (in *receiving) keepModule(ctx context.Context, wasm []byte) error {
	return in.set.node.AddModule(ctx, wasm)
}

// takeEarlier takes some of the module that was asked for. One that is not accepted is left
// out: the copy is good all the same.
func (in *receiving) takeEarlier(ctx context.Context, m *standby.Earlier) error {
	e := &in.earlier
	if e.size == 0 || !bytes.Equal(m.Module, e.digest[:]) {
		return fmt.Errorf("%w: module %x was not asked for", standby.ErrBadMessage, m.Module)
	}
	if uint64(len(e.wasm)+len(m.Bytes)) > e.size {
		return fmt.Errorf("%w: a module of more than %d bytes", daemon.ErrTooLarge, e.size)
	}
	if e.wasm = append(e.wasm, m.Bytes...); !m.Last {
		return nil
	}
	wasm := e.wasm
	digest := e.digest
	in.earlier = arrivingModule{}
	if sum := sha256.Sum256(wasm); sum != digest {
		return fmt.Errorf("%w: module %x came for %x", standby.ErrBadMessage, sum, digest)
	}
	if err := in.keepModule(ctx, wasm); err != nil {
		in.set.env.Logger.Warn("a daemon's previous module is not taken: the daemon cannot be rolled back here", "daemon", in.s.id.Origin(), "from", in.from, "error", err)
	}
	return nil
}
