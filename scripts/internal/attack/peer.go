package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/quic-go/quic-go"
)

// peer is a hostile node that speaks the protocol by hand: its own session, its own
// encoder, and whatever it likes on its streams.
type peer struct {
	key    ed25519.PrivateKey
	cert   tls.Certificate
	conn   *quic.Conn
	target []byte // the node's key
	addr   string
}

// What a stream is for: its first byte.
const (
	toGreet   = 1
	toJoin    = 2
	toSend    = 3
	toAsk     = 4
	toMigrate = 5
	toChannel = 6
	toStandby = 8
	toDirect  = 9
)

// join makes a hostile peer that the node trusts with the rights.
func (s *scene) join(ctx context.Context, rights string) (*peer, error) {
	text, err := s.one().token(ctx, rights)
	if err != nil {
		return nil, err
	}
	raw, err := base64.RawURLEncoding.DecodeString(text[len("wh1."):])
	if err != nil {
		return nil, err
	}
	var fields []any
	if err := cbor.Unmarshal(raw[:len(raw)-4], &fields); err != nil || len(fields) < 5 {
		return nil, fmt.Errorf("a token of %d fields: %w", len(fields), err)
	}
	target, ok1 := fields[1].([]byte)
	addr, ok2 := fields[2].(string)
	secret, ok3 := fields[3].([]byte)
	if !ok1 || !ok2 || !ok3 {
		return nil, errors.New("a token of another form")
	}
	p := &peer{target: target, addr: addr}
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	p.key = key
	form := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, form, form, pub, key)
	if err != nil {
		return nil, err
	}
	p.cert = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	_, err = p.greet(ctx, toJoin, secret, "mallory")
	return p, err
}

// greet opens a session, and returns what the node says of itself.
func (p *peer) greet(ctx context.Context, purpose byte, secret []byte, name string) ([]any, error) {
	conn, err := quic.DialAddr(ctx, p.addr, &tls.Config{NextProtos: []string{"wasmhost/1"}, Certificates: []tls.Certificate{p.cert},
		InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}, &quic.Config{KeepAlivePeriod: 5 * time.Second})
	if err != nil {
		return nil, err
	}
	p.conn = conn
	hello := cborList(cborUint(1), cborText(name), cborText("127.0.0.1:9"), cborBytes(make([]byte, 32)), cborBytes([]byte("lifetime")), cborBytes(secret), cborText(""))
	st, err := p.open(ctx, append([]byte{purpose}, frame(hello)...))
	if err != nil {
		return nil, err
	}
	answer, err := readList(st)
	if err != nil {
		return nil, err
	}
	if refused, _ := answer[len(answer)-1].(string); len(answer) > 6 && answer[6] != "" {
		return nil, fmt.Errorf("refused at hello: %v %s", answer[6], refused)
	}
	return answer, nil
}

// open opens a stream and writes the bytes to it. Reads end after ten seconds.
func (p *peer) open(ctx context.Context, b []byte) (*quic.Stream, error) {
	st, err := p.conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	if err := st.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return nil, err
	}
	_, err = st.Write(b)
	return st, err
}

// id is the peer's key as an entity id.
func (p *peer) id() []byte { return p.key.Public().(ed25519.PublicKey) }

// readFrame reads one message.
func readFrame(r io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > 40<<20 {
		return nil, fmt.Errorf("a message of %d bytes", n)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}

func readList(r io.Reader) ([]any, error) {
	b, err := readFrame(r)
	if err != nil {
		return nil, err
	}
	return list(b)
}

func list(b []byte) ([]any, error) {
	var l []any
	return l, cbor.Unmarshal(b, &l)
}
