package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"path/filepath"
	"time"

	"github.com/quic-go/quic-go"

	"wasmhost.example/identity"
)

// Messages about standbys that these attacks send, and are sent.
const (
	standbyFollow = 1
	standbyHave   = 2
	standbyRefuse = 3
	standbyReset  = 5
	standbyState  = 16

	standbyVersion = 4
)

// kept is what a node says of a daemon that has standbys.
type kept struct {
	Entity  string `json:"entity_id"`
	Module  string `json:"module"`
	Epoch   uint64 `json:"epoch"`
	Cluster *struct {
		InSync []string `json:"in_sync"`
	} `json:"cluster"`
}

// resetStandby is the node that owns a daemon, taken over with its key: it has the
// standby drop its copy, as a node whose disk was set back would.
func resetStandby(ctx context.Context, s *scene) (string, error) {
	two := s.nodes[1]
	d, err := two.keep(ctx, "kept")
	if err != nil {
		return "", fmt.Errorf("a daemon with a standby: %w", err)
	}
	for try := 1; ; try++ {
		said, err := s.resetAs(ctx, two, d)
		var cut *quic.ApplicationError
		if errors.As(err, &cut) && cut.Remote && try < 20 {
			continue // node two came back, for which node one ends the session that says that it is node two
		}
		return said, err
	}
}

// resetAs has the first node drop its copy, in the name of the node that owns the daemon.
func (s *scene) resetAs(ctx context.Context, two *node, d *kept) (string, error) {
	p, err := s.impersonate(ctx, two)
	if err != nil {
		return "", fmt.Errorf("coming as node two: %w", err)
	}
	defer p.conn.CloseWithError(0, "") //nolint: the session is of no further use
	st, before, err := p.follow(ctx, d)
	if err != nil {
		return "", err
	}
	if _, err := st.Write(message(standbyReset)); err != nil {
		return "", err
	}
	kind, fields, err := readMessage(st)
	if err != nil {
		return "", fmt.Errorf("a reset without a proof: %w", err)
	}
	if kind != standbyRefuse || len(fields) != 2 {
		return fmt.Sprintf("message %d: %v", kind, fields), nil
	}
	_, after, err := p.follow(ctx, d)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%v; the copy is as it was: %v", fields[1], before > 0 && after >= before), nil
}

// keep makes a daemon with a standby that has its history, and returns what it is.
func (n *node) keep(ctx context.Context, name string) (*kept, error) {
	if _, err := n.must(ctx, http.MethodPost, "/v1/daemons", []byte(`{"kind":"counter","name":"`+name+`","standbys":1}`)); err != nil {
		return nil, err
	}
	if _, err := n.must(ctx, http.MethodPost, "/v1/daemons/"+name+"/events?id=attack/1", []byte("x")); err != nil {
		return nil, err
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		b, err := n.must(ctx, http.MethodGet, "/v1/daemons/"+name, nil)
		if err != nil {
			return nil, err
		}
		d := &kept{}
		if err := json.Unmarshal(b, d); err != nil {
			return nil, err
		}
		if d.Cluster != nil && len(d.Cluster.InSync) == 1 {
			return d, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// impersonate opens a session to the first node with another node's own key.
func (s *scene) impersonate(ctx context.Context, n *node) (*peer, error) {
	other, err := s.join(ctx, "none") // for the first node's address and key
	if err != nil {
		return nil, err
	}
	if err := other.conn.CloseWithError(0, ""); err != nil {
		return nil, err
	}
	key, err := identity.ReadKeyFile(filepath.Join(n.Data(), "node.key"), nil)
	if err != nil {
		return nil, err
	}
	seed, err := key.Seed()
	if err != nil {
		return nil, err
	}
	p := &peer{target: other.target, addr: other.addr, key: ed25519.NewKeyFromSeed(seed)}
	form := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, form, form, p.key.Public(), p.key)
	if err != nil {
		return nil, err
	}
	p.cert = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: p.key}
	_, err = p.greet(ctx, toGreet, nil, n.Name)
	return p, err
}

// follow has the node stand by for the daemon, and returns how many records of it that
// says to have.
func (p *peer) follow(ctx context.Context, d *kept) (*quic.Stream, uint64, error) {
	id, err := hex.DecodeString(d.Entity)
	if err != nil {
		return nil, 0, err
	}
	module, err := hex.DecodeString(d.Module)
	if err != nil {
		return nil, 0, err
	}
	st, err := p.open(ctx, append([]byte{toStandby}, message(standbyFollow, cborUint(standbyVersion), cborBytes(id), cborUint(d.Epoch), cborBool(true), cborBytes(module))...))
	if err != nil {
		return nil, 0, err
	}
	kind, have, err := readMessage(st)
	if err != nil || kind != standbyHave || len(have) != 3 {
		return nil, 0, errors.Join(err, fmt.Errorf("message %d after Follow: %v", kind, have))
	}
	if kind, state, err := readMessage(st); err != nil || kind != standbyState {
		return nil, 0, errors.Join(err, fmt.Errorf("message %d after Have: %v", kind, state))
	}
	next, ok := have[0].(uint64)
	if !ok {
		return nil, 0, fmt.Errorf("a number of records that is %T", have[0])
	}
	return st, next, nil
}
