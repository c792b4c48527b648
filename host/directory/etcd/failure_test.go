package etcd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"wasmhost.example/host/directory"
)

// TestAnOlderLogIsRefused restores a member from a backup that ends before what the
// member has acknowledged since.
func TestAnOlderLogIsRefused(t *testing.T) {
	secret, err := NewSecret()
	if err != nil {
		t.Fatal(err)
	}
	a := start(t, Config{Dir: filepath.Join(t.TempDir(), "etcd"), Name: "a", Addr: freeAddr(t), Secret: secret})
	go a.Promote(t.Context(), 50*time.Millisecond)
	join := func(name string) (m *testMember) {
		t.Helper()
		until(t, "admitting "+name, func(ctx context.Context) error {
			addr := freeAddr(t)
			others, err := a.Admit(ctx, name, addr)
			if err == nil {
				m = start(t, Config{Dir: filepath.Join(t.TempDir(), "etcd"), Name: name, Addr: addr, Others: others, Secret: secret})
			}
			return err
		})
		until(t, name+" votes", func(ctx context.Context) error {
			list, err := a.Members(ctx)
			for _, p := range list {
				if p.Name == name && !p.Learner {
					return nil
				}
			}
			return fmt.Errorf("%+v, %w", list, err)
		})
		return m
	}
	join("c") // without b, a and c decide: a leads on, and remembers how far b was
	b := join("b")
	stop := func(m *Member) {
		t.Helper()
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	stop(b.Member)
	backup := filepath.Join(t.TempDir(), "backup")
	if err := os.CopyFS(backup, os.DirFS(b.config.Dir)); err != nil {
		t.Fatal(err)
	}
	again, err := Start(b.config)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		key := fmt.Sprintf("daemon/%d", i)
		until(t, "a write", func(ctx context.Context) error {
			_, err := NewEngine(a.Client(), "c").Commit(ctx, nil, []directory.Write{{Key: key, Value: []byte("1")}})
			return err
		})
	}
	stop(again)
	if err := os.RemoveAll(b.config.Dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(b.config.Dir, os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	old, err := Start(b.config)
	if err == nil {
		select {
		case <-old.Done():
		case <-time.After(20 * time.Second):
			t.Fatal("a member with an older log takes part")
		}
		err = old.Err()
		_ = old.Close()
	}
	if !errors.Is(err, directory.ErrOlder) {
		t.Errorf("it ends with %v", err)
	}
}

// TestADamagedLogIsRefused starts a member whose log is no log.
func TestADamagedLogIsRefused(t *testing.T) {
	secret, err := NewSecret()
	if err != nil {
		t.Fatal(err)
	}
	a := start(t, Config{Dir: filepath.Join(t.TempDir(), "etcd"), Name: "a", Addr: freeAddr(t), Secret: secret})
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	logs, err := filepath.Glob(filepath.Join(a.config.Dir, "member", "wal", "*.wal"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("%v, %v", logs, err)
	}
	if err := os.WriteFile(logs[0], make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := Start(a.config)
	if err == nil {
		_ = m.Close()
	}
	if !errors.Is(err, directory.ErrDamaged) {
		t.Errorf("it ends with %v", err)
	}
}
