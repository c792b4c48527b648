package snapshot

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/internal/canon"
)

// Decode reads what Encode wrote, and keeps b: it is the state's. It
// checks form, bounds and the hash of the state, but no signature: that is
// Verify's. Every error wraps ErrBadSnapshot.
func Decode(b []byte) (*Snapshot, error) { return DecodeForm(b, FormBlocks) }

// DecodeForm is Decode of forms up to most.
func DecodeForm(b []byte, most Form) (*Snapshot, error) {
	in := bytes.NewReader(b)
	return ReadForm(in, most, func(r *canon.Reader, n uint64) ([]byte, error) {
		if n > uint64(len(b)) {
			return nil, canon.ErrTruncated
		}

		// What follows the state is for the reader to see.
		if _, err := io.CopyN(io.Discard, r, int64(n)); err != nil {
			return nil, canon.ErrTruncated
		}

		end := r.Offset()
		return b[end-int(n) : end : end], nil
	})
}

// Read is Decode of a stream, in which a state has at most limit
// bytes. What is wrong with the stream is returned as it is.
func Read(r io.Reader, limit int64) (*Snapshot, error) {
	return ReadForm(r, FormBlocks, func(r *canon.Reader, n uint64) ([]byte, error) {
		if n > uint64(limit) {
			return nil, fmt.Errorf("%w: a state of %d bytes, at most %d", daemon.ErrBadSnapshot, n, limit)
		}
		return r.Take(n)
	})
}

// Inspect is Read that lets the state go by: it returns how many
// bytes that has, and a snapshot without it.
func Inspect(r io.Reader) (s *Snapshot, state int64, err error) {
	hash := sha256.New()
	s, err = readHead(r, FormBlocks, func(r *canon.Reader, n uint64) (chain.Hash, error) {
		state = int64(n)
		_, err := io.CopyN(hash, r, int64(n))
		return chain.Hash(hash.Sum(nil)), err
	})
	return s, state, err
}

// decodePart decodes header or checkpoint. A header has as many fields as its
// version.
func decodePart(b []byte, into any) error {
	h, ok := into.(*Header)
	if !ok || len(b) == 0 {
		return canon.Unmarshal(b, into)
	}

	switch b[0] {
	case 0x92: // an array of 18
		var p plainHeader
		err := canon.Unmarshal(b, &p)
		*h = p.full()
		return err

	case 0x93:
		var p boundHeader
		err := canon.Unmarshal(b, &p)
		*h = p.full()
		return err

	case 0x94:
		var p effectHeader
		err := canon.Unmarshal(b, &p)
		*h = p.full()
		return err
	}

	return canon.Unmarshal(b, into)
}

// ReadForm reads a snapshot of one of the forms up to most. state reads n bytes of the
// state, of which ReadForm checks the hash.
func ReadForm(r io.Reader, most Form, state func(r *canon.Reader, n uint64) ([]byte, error)) (*Snapshot, error) {
	var all []byte
	s, err := readHead(r, most, func(r *canon.Reader, n uint64) (sum chain.Hash, err error) {
		if all, err = state(r, n); err != nil {
			return chain.Hash{}, err
		}
		return sha256.Sum256(all), nil
	})
	if err != nil {
		return nil, err
	}

	s.State = all
	return s, nil
}

// readHead reads a snapshot of a form up to most. state reads its state
// of n bytes and returns the hash.
func readHead(in io.Reader, most Form, state func(r *canon.Reader, n uint64) (chain.Hash, error)) (*Snapshot, error) {
	bad := func(err error) error {
		var form *canon.Error
		if errors.Is(err, daemon.ErrBadSnapshot) || !errors.As(err, &form) && !errors.Is(err, io.EOF) && !errors.Is(err, canon.ErrContent) && !errors.Is(err, canon.ErrTruncated) {
			return err
		}
		return fmt.Errorf("%w: %w", daemon.ErrBadSnapshot, err)
	}

	r, s := canon.NewReader(in), &Snapshot{}
	n, err := r.Array()
	if err == nil && n != 3 {
		err = fmt.Errorf("%w: an array of %d", daemon.ErrBadSnapshot, n)
	}

	for _, part := range []struct {
		into any
		most uint64
	}{{&s.Header, maxHeaderBytes}, {&s.Checkpoint, maxCheckpointBytes}} {
		var b []byte
		if err == nil {
			b, err = r.Item(part.most)
		}
		if err == nil {
			err = decodePart(b, part.into)
		}
	}

	if err == nil {
		n, err = r.String()
	}

	if err != nil {
		return nil, bad(err)
	}
	if err := s.Header.check(most); err != nil {
		return nil, fmt.Errorf("%w: %w", daemon.ErrBadSnapshot, err)
	}

	sum, err := state(r, n)
	if err == nil {
		err = r.End()
	}

	if err != nil {
		return nil, bad(err)
	}
	if sum != s.Header.StateHash {
		return nil, fmt.Errorf("%w: the state does not have the hash that the header names", daemon.ErrBadSnapshot)
	}
	if err := s.checkCheckpoint(); err != nil {
		return nil, fmt.Errorf("%w: %w", daemon.ErrBadSnapshot, err)
	}

	return s, nil
}
