package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"reflect"
)

// Bounds on what a client reads of one JSON answer, or of one line of a stream.
const (
	maxAnswer   = 1 << 30 // bytes of JSON of the node that a program asks
	listAnswers = 4       // answers that the pages of one list may come to, with what their values take in memory
)

// ErrAnswerTooLarge says that a node answers more than is read of it.
var ErrAnswerTooLarge = errors.New("the node's answer is too large")

// Reading returns a client that reads at most so many bytes of JSON of one answer, and of
// each line of a stream; more is ErrAnswerTooLarge. Without it the bound is 1 GiB.
func (c *Client) Reading(most int64) *Client {
	out := *c
	out.most = most
	return &out
}

// answer is JSON of a node, of which left bytes more are read. Reads beyond them are
// ErrAnswerTooLarge.
type answer struct {
	io.Reader
	left int64
}

// answer begins to read r, which a node answered.
func (c *Client) answer(r io.Reader) *answer {
	if c.most == 0 {
		return &answer{r, maxAnswer}
	}
	return &answer{r, c.most}
}

// Read implements io.Reader.
func (a *answer) Read(b []byte) (int, error) {
	if a.left <= 0 {
		return 0, ErrAnswerTooLarge
	}
	n, err := a.Reader.Read(b[:min(int64(len(b)), a.left)])
	a.left -= int64(n)
	return n, err
}

// decode reads the JSON value of an answer. Errors are those of readError.
func (a *answer) decode(ctx context.Context, into any) error {
	if err := json.NewDecoder(a).Decode(into); err != nil {
		return readError(ctx, err)
	}
	return nil
}

// appendList appends the values of the JSON list of an answer to list. Each counts with
// what it takes in memory, too: {} takes more there. Errors are those of readError.
func appendList[T any](ctx context.Context, a *answer, list []T) ([]T, error) {
	d := json.NewDecoder(a)
	begin, err := d.Token()
	if err != nil {
		return nil, readError(ctx, err)
	}
	if begin == nil {
		return list, nil // null is a list without values
	}
	if begin != json.Delim('[') {
		return nil, errors.New("reading the node's answer: it is no list")
	}

	size := int64(reflect.TypeFor[T]().Size())
	for d.More() {
		var v T
		if err := d.Decode(&v); err != nil {
			return nil, readError(ctx, err)
		}
		if a.left -= size; a.left < 0 {
			return nil, readError(ctx, ErrAnswerTooLarge)
		}

		list = append(list, v)
	}

	if _, err := d.Token(); err != nil {
		return nil, readError(ctx, err)
	}
	return list, nil
}
