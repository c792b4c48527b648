package node

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// certificate is the one of the API, which can be loaded again.
type certificate struct {
	cert, key string // files
	now       atomic.Pointer[tls.Certificate]
}

// openCertificate loads the files; where they are not named, those in the data directory,
// which it makes for the address at the first start.
func openCertificate(certFile, keyFile, addr, data string) (*certificate, error) {
	c := &certificate{cert: certFile, key: keyFile}
	if c.cert == "" {
		c.cert, c.key = filepath.Join(data, "api.crt"), filepath.Join(data, "api.key")
		if _, err := os.Stat(c.cert); errors.Is(err, fs.ErrNotExist) {
			if err := makeCertificate(c.cert, c.key, addr); err != nil {
				return nil, fmt.Errorf("making the API's certificate: %w", err)
			}
		}
	}

	return c, c.load()
}

func (c *certificate) load() error {
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("loading the API's certificate %s: %w", c.cert, err)
	}
	c.now.Store(&pair)
	return nil
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.now.Load(), nil }

// makeCertificate writes a certificate that signs itself, for this machine's
// names and the address: callers trust it by a copy of the file (--ca-file).
func makeCertificate(certFile, keyFile, addr string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}

	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return err
	}

	now := time.Now()
	t := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "wasmhost control API"}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(10, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IsCA: true, BasicConstraintsValid: true,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}}
	if name, err := os.Hostname(); err == nil && name != "" {
		t.DNSNames = append(t.DNSNames, name)
	}

	if host, _, err := net.SplitHostPort(addr); err == nil && host != "" {
		if ip := net.ParseIP(host); ip == nil {
			t.DNSNames = append(t.DNSNames, host)
		} else if !ip.IsUnspecified() {
			t.IPAddresses = append(t.IPAddresses, ip)
		}
	}

	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return err
	}

	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600); err != nil {
		return err
	}

	return os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600)
}
