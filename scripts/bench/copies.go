package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/identity"
)

const copied = 64 // MiB, which do not compress

// copies puts the migration of a daemon of 64 MiB beside what one would do without:
// stop it, copy its snapshot, start it there; and its transfer beside as many bytes
// over a bare stream.
func copies(root string, rounds int) (err error) {
	p, err := newPair(root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	raw, err := startRaw()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, raw.close()) }()
	rounds = min(rounds, 7)
	key, err := identity.Generate()
	if err != nil {
		return err
	}
	seed, err := key.Seed()
	if err != nil {
		return err
	}
	if err := p.spawn("heap", "live", fmt.Sprintf("r %d", copied)); err != nil {
		return err
	}
	if _, err := p.to[0].Spawn(ctx, api.Spawn{Kind: "heap", Name: "cold", Identity: seed}); err != nil {
		return err
	}
	if _, err := p.to[0].Send(ctx, "cold", "", fmt.Appendf(nil, "r %d", copied)); err != nil {
		return err
	}
	var waits, streams [3][]float64
	for round := range rounds {
		to := (round + 1) % 2
		report, _, err := p.move("live", to)
		if err != nil {
			return err
		}
		waits[0] = append(waits[0], report.DowntimeMS*1e6)
		streams[0] = append(streams[0], phase(report, "transfer")*1e6)
		stopped, err := p.stopAndCopy("cold", seed, to)
		if err != nil {
			return err
		}
		waits[1] = append(waits[1], float64(stopped))
		quic, err := raw.send(copied << 20)
		if err != nil {
			return err
		}
		streams[1] = append(streams[1], float64(quic))
		tcp, err := overTLS(copied << 20)
		if err != nil {
			return err
		}
		streams[2] = append(streams[2], float64(tcp))
	}
	(&comparison{name: "downtime-64MiB", n: 1}).report([]contender{
		{name: "wasmhost: live migration, senders wait"},
		{name: "stop, copy the snapshot, start: the daemon is away"},
	}, waits[:2])
	(&comparison{name: "copy-64MiB", n: 1}).report([]contender{
		{name: "wasmhost: the transfer of a migration"},
		{name: "quic-go: as many bytes over one stream"},
		{name: "TLS 1.3 over TCP: as many bytes"},
	}, streams[:3])
	return nil
}

// stopAndCopy moves a daemon to node k without a migration, and returns for how long
// nobody ran it.
func (p *pair) stopAndCopy(name string, seed []byte, k int) (time.Duration, error) {
	from, to := p.to[1-k], p.to[k]
	began := time.Now()
	body, err := from.Daemons().Snapshot(ctx, name)
	if err != nil {
		return 0, err
	}
	snapshot, err := io.ReadAll(body)
	if err := errors.Join(err, body.Close()); err != nil {
		return 0, err
	}
	if _, err := from.Daemons().Remove(ctx, name); err != nil {
		return 0, err
	}
	if _, err := to.Daemons().Restore(ctx, bytes.NewReader(snapshot), "", name, seed); err != nil {
		return 0, err
	}
	return time.Since(began), nil
}

// overTLS sends so many bytes over a connection of the loopback, until they were
// all read.
func overTLS(n int64) (time.Duration, error) {
	cert, err := selfSigned()
	if err != nil {
		return 0, err
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13})
	if err != nil {
		return 0, err
	}
	defer l.Close()
	taken := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			_, err = io.CopyN(io.Discard, c, n)
			_, ackErr := c.Write([]byte{1})
			err = errors.Join(err, ackErr, c.Close())
		}
		taken <- err
	}()
	d := tls.Dialer{NetDialer: &net.Dialer{}, Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}}
	c, err := d.DialContext(ctx, "tcp", l.Addr().String())
	if err != nil {
		return 0, err
	}
	defer c.Close()
	chunk := make([]byte, 1<<20)
	_, _ = rand.Read(chunk) // never fails
	began := time.Now()
	for left := n; left > 0; left -= int64(len(chunk)) {
		if _, err := c.Write(chunk[:min(int64(len(chunk)), left)]); err != nil {
			return 0, err
		}
	}
	var ack [1]byte
	if _, err := io.ReadFull(c, ack[:]); err != nil {
		return 0, err
	}
	took := time.Since(began)
	return took, <-taken
}

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
