package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"wasmhost.example/host/directory"
)

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

type testMember struct {
	*Member
	config Config
}

func start(t *testing.T, c Config) *testMember {
	t.Helper()
	c.Token, c.TTL, c.Logger = "test", time.Second, slog.New(slog.DiscardHandler)
	m, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return &testMember{m, c}
}

// until asks again until fn is satisfied.
func until(t *testing.T, what string, fn func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		ask, done := context.WithTimeout(ctx, 2*time.Second)
		err := fn(ask)
		done()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// TestThreeMembers grows a cluster from one to three, does without any one of
// them, and takes one back with another address.
func TestThreeMembers(t *testing.T) {
	secret, err := NewSecret()
	if err != nil {
		t.Fatal(err)
	}
	a := start(t, Config{Dir: filepath.Join(t.TempDir(), "etcd"), Name: "a", Addr: freeAddr(t), Secret: secret})
	go a.Promote(t.Context(), 50*time.Millisecond)
	key := "daemon/x"
	var revision int64
	until(t, "the first write", func(ctx context.Context) (err error) {
		revision, err = NewEngine(a.Client(), "c").Commit(ctx, []directory.Condition{{Key: key}}, []directory.Write{{Key: key, Value: []byte("1")}})
		return err
	})
	all := []*testMember{a}
	for _, name := range []string{"b", "c"} {
		addr := freeAddr(t)
		var others string
		until(t, "admitting "+name, func(ctx context.Context) (err error) {
			others, err = a.Admit(ctx, name, addr)
			return err
		})
		m := start(t, Config{Dir: filepath.Join(t.TempDir(), "etcd"), Name: name, Addr: addr, Others: others, Secret: secret})
		all = append(all, m)
		until(t, name+" votes", func(ctx context.Context) error {
			list, err := m.Members(ctx)
			for _, p := range list {
				if p.Name == name && !p.Learner {
					return nil
				}
			}
			return fmt.Errorf("%+v, %v", list, err)
		})
		until(t, "reading at "+name, func(ctx context.Context) error {
			v, at, err := NewEngine(m.Client(), "c").Get(ctx, key)
			if err == nil && (string(v) != "1" || at != revision) {
				t.Fatalf("%s has %q at %d", name, v, at)
			}
			return err
		})
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	b := NewEngine(all[1].Client(), "c")
	until(t, "without the first", func(ctx context.Context) error {
		now, err := b.Commit(ctx, []directory.Condition{{Key: key, Revision: revision}}, []directory.Write{{Key: key, Value: []byte("2")}})
		if errors.Is(err, directory.ErrConflict) {
			_, now, err = b.Get(ctx, key) // the one before was made after all
		}
		revision = now
		return err
	})
	again := a.config
	m, err := Start(again)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	until(t, "the first is back", func(ctx context.Context) error {
		v, at, err := NewEngine(m.Client(), "c").Get(ctx, key)
		if err == nil && (string(v) != "2" || at != revision) {
			t.Fatalf("it has %q at %d", v, at)
		}
		return err
	})
	// Two are gone: nothing is decided, and nothing is said to be.
	for _, gone := range all[1:] {
		if err := gone.Close(); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := NewEngine(m.Client(), "c").Commit(ctx, nil, []directory.Write{{Key: key, Value: []byte("3")}}); err == nil {
		t.Error("one of three members decided alone")
	}
}

// TestNoStranger keeps out who does not have the cluster's secret.
func TestNoStranger(t *testing.T) {
	secret, err := NewSecret()
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewSecret()
	if err != nil {
		t.Fatal(err)
	}
	a := start(t, Config{Dir: filepath.Join(t.TempDir(), "etcd"), Name: "a", Addr: freeAddr(t), Secret: secret})
	var others string
	addr := freeAddr(t)
	until(t, "admitting", func(ctx context.Context) (err error) {
		others, err = a.Admit(ctx, "b", addr)
		return err
	})
	if m, err := Start(Config{Dir: filepath.Join(t.TempDir(), "etcd"), Name: "b", Addr: addr, Others: others, Token: "test", Secret: other, TTL: time.Second, Logger: slog.New(slog.DiscardHandler)}); err == nil {
		_ = m.Close()
		t.Error("it takes part")
	}
}

// TestAMemberHasOnePortAndItAsksForACertificate looks at what a member listens on, and
// speaks to it without the cluster's key.
func TestAMemberHasOnePortAndItAsksForACertificate(t *testing.T) {
	secret, err := NewSecret()
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewSecret()
	if err != nil {
		t.Fatal(err)
	}
	a := start(t, Config{Dir: filepath.Join(t.TempDir(), "etcd"), Name: "a", Addr: freeAddr(t), Secret: secret})
	if len(a.etcd.Clients) != 0 || len(a.etcd.Peers) != 1 {
		t.Errorf("it listens for clients %d times, for members %d times; want 0 and 1", len(a.etcd.Clients), len(a.etcd.Peers))
	}
	files, err := other.write(t.TempDir(), "stranger")
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := tls.LoadX509KeyPair(files.cert, files.key)
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]*tls.Config{
		"without a certificate":             {InsecureSkipVerify: true},
		"with one of another cluster's key": {InsecureSkipVerify: true, Certificates: []tls.Certificate{stranger}},
	} {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: c, DisableKeepAlives: true}}
		for _, path := range []string{"/members", "/version", "/raft", "/v3/kv/range"} {
			res, err := client.Get(PeerURL(a.config.Addr) + path)
			if err == nil {
				_ = res.Body.Close()
				t.Errorf("%s, %s was answered: %s", what, path, res.Status)
			}
		}
	}
	if res, err := http.Get("http://" + a.config.Addr + "/members"); err == nil {
		_ = res.Body.Close()
		if res.StatusCode != http.StatusBadRequest {
			t.Errorf("without TLS it was answered: %s", res.Status)
		}
	}
}
