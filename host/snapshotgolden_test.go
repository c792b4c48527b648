package host_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wasmhost.example/host"
	"wasmhost.example/host/broker"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/identity"
)

// goldenSnapshots is a file with a snapshot of each version, one a line, in hexadecimal. It
// grows, and no line of it changes.
var goldenSnapshots = filepath.Join("testdata", "golden", "snapshots.txt")

// writeSnapshots makes one of each version of the same daemon.
func writeSnapshots(t *testing.T) {
	t.Helper()
	var net hosttest.Net
	a := channelNode(t, &net, nil, "")
	a.create("ticks", broker.Policy{})
	key := newKey(t)
	d, err := a.Spawn(ctx, daemon.SpawnRequest{Kind: "ear", Name: "ear", Identity: key, Grants: effect.Grants{SendAny: true}})
	if err != nil {
		t.Fatal(err)
	}
	a.subscribe(d.Entity, a, "ticks", nil)
	s, err := a.Snapshot(ctx, d.Entity)
	if err != nil {
		t.Fatal(err)
	}
	lines := make([]string, 4)
	for version := 4; version >= 1; version-- {
		h := &s.Header
		switch version {
		case 3:
			h.Lasting = nil
		case 2:
			h.Effects = nil
		case 1:
			h.Bindings = nil
		}
		h.Version = uint8(version)
		if err := host.SealSnapshot(s, key); err != nil {
			t.Fatal(err)
		}
		b, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		lines[version-1] = hex.EncodeToString(b)
	}
	if err := os.WriteFile(goldenSnapshots, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A snapshot of each version is read for ever: it is signed, keeps its bytes, and becomes a
// daemon. From version 4 on it says when the daemon was made.
func TestSnapshotsOfEachVersionOpen(t *testing.T) {
	if *writeData {
		writeSnapshots(t)
	}
	text, err := os.ReadFile(goldenSnapshots)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Fields(string(text))
	if len(lines) != snapshot.Version {
		t.Fatalf("%d snapshots, there are %d versions", len(lines), snapshot.Version)
	}
	for i, line := range lines {
		t.Run(fmt.Sprint(i+1), func(t *testing.T) {
			b := mustHex(t, line)
			s, err := snapshot.Decode(b)
			if err != nil || int(s.Header.Version) != i+1 || s.Verify() != nil {
				t.Fatalf("%+v, %v", s, err)
			}
			if again, err := s.Encode(); err != nil || !bytes.Equal(again, b) {
				t.Errorf("it is written otherwise, %v", err)
			}
			if made := s.Header.Spawned(); made.IsZero() != (i < 3) {
				t.Errorf("it was made at %v", made)
			}
			made := time.Now()
			var net hosttest.Net
			a := channelNode(t, &net, nil, "")
			d, err := a.SpawnFromDecoded(ctx, daemon.SpawnRequest{Identity: identity.PublicOnly(s.Header.Entity)}, s)
			if err != nil {
				t.Fatal(err)
			}
			if i < 3 && d.Spawned.Before(made) || i == 3 && !d.Spawned.Equal(s.Header.Spawned()) {
				t.Errorf("the daemon was spawned at %v", d.Spawned)
			}
		})
	}
}
