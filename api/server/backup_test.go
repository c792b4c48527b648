package server

import (
	"bytes"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
	"wasmhost.example/host/backup"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// A backup over the API is what backup.Create stores, sealed for the recipient; what
// the place has is not sent again. What cannot be one is refused before the store is
// touched.
func TestBackupIsAStream(t *testing.T) {
	st, err := store.Open(store.Options{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	node, recipient := newIdentity(t), newIdentity(t)
	seal, err := recipient.SealKey()
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, "a")
	s.server.ServeBackups(st, node, 3)
	front := httptest.NewServer(s.server)
	t.Cleanup(front.Close)
	c := client.DialTLS(front.URL, "", nil)

	place, err := backup.OpenDir(filepath.Join(t.TempDir(), "backups"), true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = place.Close() })
	req := api.Backup{Recipient: hex.EncodeToString(seal[:])}
	var fresh [2]int64
	for i := range fresh {
		stream, err := c.Node().Backup(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		m, err := backup.Create(t.Context(), place, stream, func(p backup.Progress) { fresh[i] = p.Fresh })
		if err := errors.Join(err, stream.Close()); err != nil {
			t.Fatal(err)
		}
		key, err := m.OpenKey(recipient)
		if err != nil || key.ID() != node.ID() || m.Incarnation != 3 || m.NodeName != "a" || m.Parent != req.Parent {
			t.Errorf("the manifest %+v opens %v, %v", m, key, err)
		}
		req.Parent = m.ID
		if err := backup.Digests(t.Context(), place, func(d string) { req.Have = append(req.Have, d) }); err != nil {
			t.Fatal(err)
		}
	}
	if fresh[0] == 0 || fresh[1] >= fresh[0] {
		t.Errorf("the first backup sends %d bytes, the second %d", fresh[0], fresh[1])
	}

	for name, bad := range map[string]api.Backup{
		"no recipient":    {},
		"a short one":     {Recipient: "12"},
		"a large holder":  {Recipient: req.Recipient, Holder: string(bytes.Repeat([]byte("x"), maxHolder+1))},
		"too many digest": {Recipient: req.Recipient, Have: make([]string, api.MaxHave+1)},
	} {
		var p *api.Problem
		if _, err := c.Node().Backup(t.Context(), bad); !errors.As(err, &p) || p.Code != "bad-request" {
			t.Errorf("%s: got %v, want bad-request", name, err)
		}
	}
	used, err := st.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = used.Close() }()
	var p *api.Problem
	if _, err := c.Node().Backup(t.Context(), req); !errors.As(err, &p) || p.Code != "backup-running" {
		t.Errorf("a second at a time: got %v, want backup-running", err)
	}
}

func newIdentity(t *testing.T) *identity.KeyPair {
	t.Helper()
	k, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return k
}
