package host_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"testing"
	"testing/synctest"
	"time"

	"wasmhost.example/host/directory"
	"wasmhost.example/host/standby"
	"wasmhost.example/host/store"
)

// TestFilesThatAreNotWhatTheySay has an owner send a standby files that are not to be
// taken: the stream ends, and nothing of them is kept.
func TestFilesThatAreNotWhatTheySay(t *testing.T) {
	state := []byte("a state")
	sum := sha256.Sum256(state)
	file := func(digest byte, last bool) *standby.File {
		return &standby.File{Digest: bytes.Repeat([]byte{digest}, 32), Bytes: state, Last: last}
	}
	speaks := func(table store.Table, digest []byte) *standby.Batch {
		return &standby.Batch{Parts: []store.Part{store.StatePart(table, []byte{}, append(binary.BigEndian.AppendUint64(nil, 1<<63|4), digest...))}}
	}
	for name, messages := range map[string][]standby.Message{
		"another digest":           {file(1, true)},
		"more of what is whole":    {&standby.File{Digest: sum[:], Bytes: state, Last: true}, &standby.File{Digest: sum[:], Bytes: state}},
		"many":                     {file(1, false), file(2, false), file(3, false), file(4, false), file(5, false)},
		"spoken of, never came":    {speaks(store.Snapshots, sum[:])},
		"spoken of, not whole":     {&standby.File{Digest: sum[:], Bytes: state}, speaks(store.Snapshots, sum[:])},
		"spoken of in no state":    {&standby.File{Digest: sum[:], Bytes: state, Last: true}, speaks(store.Table('h'), sum[:])},
		"beside what is no part":   {&standby.File{Digest: sum[:], Bytes: state, Last: true}, &standby.Batch{Parts: append(speaks(store.Snapshots, sum[:]).Parts, store.Part{Table: 'x', Kind: 's'})}},
		"to be acknowledged first": {&standby.File{Digest: sum[:], Bytes: state, Last: true}, &standby.Batch{Number: 1, Parts: speaks(store.Snapshots, sum[:]).Parts}},
		"spoken of twice at once":  {&standby.File{Digest: sum[:], Bytes: state, Last: true}, &standby.Batch{Parts: append(speaks(store.Snapshots, sum[:]).Parts, speaks(store.Deltas, sum[:]).Parts...)}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newTestCluster(t, 2)
				a, b := c.nodes[0], c.nodes[1]
				d := a.spawn(0, directory.AckMemory)
				peer, err := a.mesh.Peer(b.id())
				if err != nil {
					t.Fatal(err)
				}
				conn, err := peer.OpenStandby(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Abort()
				if err := conn.Send(&standby.Follow{Version: standby.Version, Entity: d.Entity, Epoch: d.Epoch, Module: []byte{}}); err != nil {
					t.Fatal(err)
				}
				if msg, err := conn.Recv(); err != nil {
					t.Fatal(err)
				} else if _, ok := msg.(*standby.Have); !ok {
					t.Fatalf("%+v", msg)
				}
				for _, m := range messages {
					if err := conn.Send(m); err != nil {
						break // it has ended already
					}
				}
				if msg, err := conn.Recv(); err == nil {
					if _, refused := msg.(*standby.Refuse); !refused {
						t.Errorf("the stream goes on with %+v", msg)
					}
				}
				time.Sleep(time.Second)
				for _, digest := range []store.Digest{sum, store.Digest(file(1, true).Digest)} {
					if r, _, err := b.s.OpenState(d.Entity, digest); err == nil {
						t.Errorf("a file is kept: %v", r.Close())
					}
				}
				if b.s.HasFiles(d.Entity) {
					t.Error("the store knows of a file")
				}
			})
		})
	}
}
