package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"wasmhost.example/host/store"
)

// What the cluster's directory needs of the disk to start: etcd ends the process where
// it cannot write its first log, which it makes at its whole size.
const (
	roomForLog  = 64_000_000 + roomToStart
	roomToStart = 1 << 20
)

// roomForMember returns nil if the disk has room for this node's part of the cluster's
// directory, which is in dir; else an error that wraps store.ErrNoSpace.
func roomForMember(dir string) error {
	need := uint64(roomToStart)
	if _, err := os.Stat(filepath.Join(dir, "member", "wal")); errors.Is(err, fs.ErrNotExist) {
		need = roomForLog
	}
	free, err := store.Free(filepath.Dir(dir))
	if err != nil || free >= need { // a disk that does not say how full it is may have room
		return nil
	}
	return fmt.Errorf("starting this node's part of the cluster's directory in %s: %w: %d KiB are free, it needs %d KiB", dir, store.ErrNoSpace, free>>10, need>>10)
}
