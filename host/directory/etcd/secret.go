package etcd

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// Secret is what the members of one cluster share: the seed of the ed25519 key by
// which each proves to the others, over TLS, that it is one of them.
type Secret [ed25519.SeedSize]byte

// ErrBadSecret says that bytes are no secret of a cluster.
var ErrBadSecret = errors.New("a cluster's secret has 32 bytes")

// NewSecret draws one.
func NewSecret() (s Secret, err error) {
	if _, err := rand.Read(s[:]); err != nil {
		return s, fmt.Errorf("drawing a cluster's secret: %w", err)
	}
	return s, nil
}

// Format implements fmt.Formatter: a secret is not printed.
func (Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, "the cluster's secret") }

// SecretOf returns the secret that the bytes are. ErrBadSecret.
func SecretOf(b []byte) (s Secret, err error) {
	if len(b) != len(s) {
		return s, fmt.Errorf("%w, not %d", ErrBadSecret, len(b))
	}
	return Secret(b), nil
}

// The certificates have no end that a running cluster would meet: who is a member
// is decided by the cluster's list, and by who has the secret.
var (
	notBefore = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	notAfter  = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
)

// memberHost is the name in every member's certificate: members go by the key of
// their cluster, wherever they are.
const memberHost = "member.wasmhost"

type tlsFiles struct{ ca, cert, key string }

// write makes a certificate for a member and writes it with its key.
func (s Secret) write(dir, name string) (f tlsFiles, err error) {
	root := ed25519.NewKeyFromSeed(s[:])
	authority := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "wasmhost cluster"}, NotBefore: notBefore, NotAfter: notAfter,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	ca, err := x509.CreateCertificate(rand.Reader, authority, authority, root.Public(), root)
	if err != nil {
		return f, fmt.Errorf("making the cluster's certificate: %w", err)
	}

	pub, priv, err := ed25519.GenerateKey(nil)
	if err != nil {
		return f, fmt.Errorf("drawing a member's key: %w", err)
	}

	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return f, fmt.Errorf("numbering a member's certificate: %w", err)
	}

	leaf := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: notBefore, NotAfter: notAfter, DNSNames: []string{memberHost},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	cert, err := x509.CreateCertificate(rand.Reader, leaf, authority, pub, root)
	if err != nil {
		return f, fmt.Errorf("making a member's certificate: %w", err)
	}

	der, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		return f, fmt.Errorf("writing a member's key: %w", err)
	}

	f = tlsFiles{filepath.Join(dir, "ca.pem"), filepath.Join(dir, "member.pem"), filepath.Join(dir, "member.key")}
	for _, file := range []struct {
		path, kind string
		der        []byte
	}{{f.ca, "CERTIFICATE", ca}, {f.cert, "CERTIFICATE", cert}, {f.key, "PRIVATE KEY", der}} {
		if err := os.WriteFile(file.path, pem.EncodeToMemory(&pem.Block{Type: file.kind, Bytes: file.der}), 0o600); err != nil {
			return f, fmt.Errorf("writing a member's certificate: %w", err)
		}
	}

	return f, nil
}
