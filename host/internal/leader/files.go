package leader

import (
	"context"
	"errors"
	"fmt"
	"io"

	"wasmhost.example/host/standby"
	"wasmhost.example/host/store"
)

// States that are files of their own go to a standby before the batch that speaks of them.

// sendFiles sends the files that the batch speaks of. One that was replaced since ends the
// stream: the next begins with what is there.
func (f *follower) sendFiles(ctx context.Context, conn standby.Conn, b sending) error {
	if b.written != nil {
		select {
		case <-b.written:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	for _, d := range b.files {
		if err := f.sendFile(conn, d); err != nil {
			return err
		}
	}
	return nil
}

func (f *follower) sendFile(conn standby.Conn, d store.Digest) (err error) {
	file, size, err := f.leader.group.env.Store.OpenState(f.leader.daemon.Entity(), d)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	for buf := make([]byte, standby.Chunk); size > 0; {
		part := buf[:min(size, int64(len(buf)))]
		if _, err := io.ReadFull(file, part); err != nil {
			return fmt.Errorf("reading a state: %w", err)
		}
		size -= int64(len(part))
		if err := conn.Send(&standby.File{Digest: d[:], Bytes: part, Last: size == 0}); err != nil {
			return err
		}
	}
	return nil
}
