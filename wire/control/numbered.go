package control

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"wasmhost/identity"
)

// Numbered says who sends events, and which number the first of them has. A
// daemon applies an event of a sender and number once: sent again, it is
// answered with what was recorded. The zero Numbered is a sender of its own.
type Numbered struct {
	Sender identity.EntityID
	First  uint64 // 1 or higher
}

// NumberedBy returns the sender that a key names, from its first number on: who
// knows the key can send the same events again without harm.
func NumberedBy(key string) Numbered {
	return Numbered{Sender: sha256.Sum256([]byte("wasmhost sender by key\x00" + key)), First: 1}
}

const (
	senderHeader = "Wasmhost-Sender" // 32 bytes, hexadecimal
	numberHeader = "Wasmhost-Number"
)

func (n Numbered) header() http.Header {
	if n.Sender.IsZero() {
		return nil
	}
	return http.Header{senderHeader: {n.Sender.String()}, numberHeader: {strconv.FormatUint(n.First, 10)}}
}

func numberedOf(r *http.Request) (n Numbered, err error) {
	sender, number := r.Header.Get(senderHeader), r.Header.Get(numberHeader)
	if sender == "" && number == "" {
		return n, nil
	}
	if err := hexInto(n.Sender[:], sender); err != nil {
		return n, err
	}
	if n.First, err = strconv.ParseUint(number, 10, 64); err != nil || n.First == 0 || n.Sender.IsZero() {
		return n, fmt.Errorf("%w: %s %q with %s %q: a sender is not zero, and its numbers begin at 1", errBadRequest, senderHeader, sender, numberHeader, number)
	}
	return n, nil
}

// SendNumbered is Send of an event that has a sender and number.
func (c *Client) SendNumbered(ctx context.Context, ref string, n Numbered, payload []byte) (out Sent, err error) {
	res, err := c.do(ctx, "POST", daemonPath(ref, "/events"), bytes.NewReader(payload), n.header())
	if err != nil {
		return out, err
	}
	defer res.Close()
	return out, decodeAnswer(res, &out)
}

// SendAllNumbered is SendAll of events that have a sender and numbers, one
// after the other.
func (c *Client) SendAllNumbered(ctx context.Context, ref string, n Numbered, next func() ([]byte, error), fn func(Sent) error) error {
	body, w := io.Pipe()
	go func() { w.CloseWithError(frames(w, next)) }()
	defer body.Close()
	res, err := c.do(ctx, "POST", daemonPath(ref, "/stream"), body, n.header())
	if err != nil {
		return err
	}
	defer res.Close()
	return eachLine(res, fn)
}
