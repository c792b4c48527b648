package chain

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// ErrForkMismatch says that a fork is not of the chain that it was held against.
var ErrForkMismatch = errors.New("the fork is not of this parent's chain")

// ErrNotFork says that a chain file does not begin with a fork.
var ErrNotFork = errors.New("the chain does not begin as a fork")

// VerifyFork verifies a fork's chain file, its parent's, and that the fork began
// where the parent's chain says that it stood: same daemon, epoch, output, hash,
// code, and count of events, under the parent's signature. It needs no host. What
// the state was is the parent's word alone. Errors: *Error where either chain
// does not hold, ErrNotFork, ErrForkMismatch.
func VerifyFork(fork, parent io.Reader) (f, p Report, err error) {
	if f, err = Verify(fork); err != nil {
		return f, p, fmt.Errorf("the fork: %w", err)
	}
	if f.Fork == nil {
		if f.First > 1 {
			return f, p, fmt.Errorf("%w: the file begins after output %d, and the record of a fork is in the genesis", ErrNotFork, f.First-1)
		}
		return f, p, ErrNotFork
	}

	p, err = holdAgainst(f.Fork, parent)
	return f, p, err
}

// holdAgainst reads the parent's chain and looks for the place of the fork.
func holdAgainst(f *ForkRecord, parent io.Reader) (Report, error) {
	v := &verifier{r: bufio.NewReaderSize(parent, 64<<10)}
	found, next := false, uint64(0) // next: the horizon of the link after
	var link Link
	var hash Hash
	var module []byte
	v.see = func(l *Link, h Hash) {
		switch l.Sequence {
		case f.Sequence:
			found, link, hash = true, *l, h
		case f.Sequence + 1:
			next = l.Horizon
		}
		if l.Sequence <= f.Sequence {
			module = v.report.Module
		}
	}

	v.upgraded = func(u Upgrade) {
		if u.After == f.Sequence && bytes.Equal(u.Module, f.Module) {
			module = u.Module // between that output and the next
		}
	}
	if err := v.run(); err != nil {
		return v.report, fmt.Errorf("the parent: %w", &Error{Item: v.item, Sequence: v.at, Err: err})
	}

	bad := func(format string, args ...any) (Report, error) {
		return v.report, fmt.Errorf("%w: %s", ErrForkMismatch, fmt.Sprintf(format, args...))
	}

	switch r := &v.report; {
	case r.Entity != f.Parent:
		return bad("it names parent %s, this is the chain of %s", f.Parent, r.Entity)
	case !found && f.Sequence+1 < r.First:
		return bad("it began after output %d, the file begins after %d", f.Sequence, r.First-1)
	case !found:
		return bad("it began after output %d, the file ends with %d", f.Sequence, r.Last)
	case hash != f.Head:
		return bad("it began after output %d, of hash %s, which is %s in the file", f.Sequence, f.Head, hash)
	case link.Epoch != f.Epoch:
		return bad("output %d is of epoch %d, the fork says %d", f.Sequence, link.Epoch, f.Epoch)
	case f.Applied < link.Horizon, next > 0 && f.Applied >= next:
		return bad("%d events were applied, output %d stands for %d and the next for %d", f.Applied, f.Sequence, link.Horizon, next)
	case !bytes.Equal(module, f.Module):
		return bad("it is of module %.12x, the parent was of %.12x", f.Module, module)
	}

	return v.report, nil
}
