package leader

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/standby"
	"wasmhost.example/host/store"
)

func (f *follower) sendModule(ctx context.Context, conn standby.Conn, digest []byte) error {
	wasm, err := f.leader.group.node.Module(ctx, store.Digest(digest))
	if err != nil {
		return err
	}
	for {
		n := min(len(wasm), standby.Chunk)
		if err := conn.Send(&standby.Module{Bytes: wasm[:n], Last: n == len(wasm)}); err != nil {
			return err
		}
		if wasm = wasm[n:]; len(wasm) == 0 {
			return conn.Flush()
		}
	}
}

// tellLasting sends what the daemon keeps for life, where the standby knows that.
func (f *follower) tellLasting(conn standby.Conn) error {
	if f.speaks < standby.Lasting {
		return nil
	}
	receipts, err := f.leader.group.receipts.Earlier(f.leader.daemon.Entity())
	if err != nil {
		return err
	}
	facts, err := f.leader.daemon.Facts()
	if err != nil {
		return err
	}
	return conn.Send(&standby.Facts{Bytes: facts, Receipts: append([][]byte{}, receipts...)})
}

// sendEarlier sends the module before the daemon's last upgrade, where the standby asked for
// that. It sends no other.
func (f *follower) sendEarlier(ctx context.Context, conn standby.Conn) error {
	f.leader.mu.Lock()
	digest := f.needs
	f.needs = nil
	f.leader.mu.Unlock()
	if digest == nil {
		return nil
	}
	if _, previous := f.leader.daemon.Modules(); !bytes.Equal(digest, previous) {
		return fmt.Errorf("%w: module %x is wanted, and is not the daemon's", standby.ErrBadMessage, digest)
	}
	wasm, err := f.leader.group.node.Module(ctx, store.Digest(digest))
	if errors.Is(err, daemon.ErrModuleNotFound) {
		return nil // the daemon cannot be rolled back here either
	}
	for err == nil {
		n := min(len(wasm), standby.Chunk)
		err = conn.Send(&standby.Earlier{Module: digest, Bytes: wasm[:n], Last: n == len(wasm)})
		if wasm = wasm[n:]; len(wasm) == 0 {
			break
		}
	}
	if err != nil {
		return err
	}
	return conn.Flush()
}
