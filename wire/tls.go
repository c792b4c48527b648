package wire

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"time"

	"wasmhost.example/identity"
)

// The protocol between nodes (RFC 7301). Nodes that both know it speak the second,
// in which a stream may be traced.
const (
	alpn       = "wasmhost/1"
	alpnTraced = "wasmhost/1.1"
)

// certificate wraps the node's key. Nothing but the key is ever looked at.
func certificate(k *identity.KeyPair) (tls.Certificate, error) {
	priv, err := k.Private()
	if err != nil {
		return tls.Certificate{}, err
	}

	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<36, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, priv.Public(), priv)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("making a certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: priv}, nil
}

// serverTLS lets any key in: accept decides what a key that is not trusted may
// do, which is to join and nothing else.
func (m *Mesh) serverTLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{alpnTraced, alpn}, Certificates: []tls.Certificate{m.cert},
		ClientAuth: tls.RequireAnyClientCert,
		VerifyConnection: func(s tls.ConnectionState) error {
			_, err := peerKey(s)
			return err
		},
	}
}

// clientTLS accepts one key.
func (m *Mesh) clientTLS(key identity.EntityID) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{alpnTraced, alpn}, Certificates: []tls.Certificate{m.cert},
		InsecureSkipVerify: true, // keys are pinned: VerifyConnection compares the key, names mean nothing
		VerifyConnection: func(s tls.ConnectionState) error {
			got, err := peerKey(s)
			if err != nil {
				return err
			}
			if got != key {
				return fmt.Errorf("%w: expected %s, the node has %s", ErrUntrusted, key, got)
			}

			return nil
		},
	}
}

// peerKey returns the key that the peer has proven to hold.
func peerKey(s tls.ConnectionState) (identity.EntityID, error) {
	if len(s.PeerCertificates) != 1 {
		return identity.EntityID{}, errors.New("a node shows one certificate")
	}
	pub, ok := s.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
	if !ok {
		return identity.EntityID{}, errors.New("a node's certificate has an ed25519 key")
	}
	return identity.EntityID(pub), nil
}
