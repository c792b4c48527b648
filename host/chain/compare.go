package chain

import (
	"bufio"
	"fmt"
	"io"

	"wasmhost.example/identity"
)

// proofMagic begins a file that holds a proof; its canonical bytes follow.
const proofMagic = "wasmhost-proof-1\n"

// ProveEquivocation reads two exported chains of one daemon and returns the proof
// that they contradict each other: ErrNoEquivocation when they do not, as when one
// goes on where the other ends. Each must hold by itself: *Error. Both are
// read more than once. It needs no host.
func ProveEquivocation(a, b io.ReadSeeker) (*Equivocation, error) {
	ids := [2]identity.EntityID{}
	read := func(k int, r io.ReadSeeker) Source {
		return func(t *Claims) error {
			if _, err := r.Seek(0, io.SeekStart); err != nil {
				return fmt.Errorf("reading the chain again: %w", err)
			}

			v := &verifier{r: bufio.NewReaderSize(r, 64<<10), claims: t}
			err := v.run()
			if err != nil {
				return &Error{Item: v.item, Sequence: v.at, Err: err}
			}
			if ids[k] = v.report.Entity; k == 1 && ids[0] != ids[1] {
				return fmt.Errorf("%w: the chains are of daemons %s and %s", ErrNoEquivocation, ids[0].Origin(), ids[1].Origin())
			}

			return nil
		}
	}

	e, err := FindConflict(func() identity.EntityID { return ids[0] }, read(0, a), read(1, b))
	if err == nil && e == nil {
		err = fmt.Errorf("%w: both chains of daemon %s can be true", ErrNoEquivocation, ids[0].Origin())
	}
	return e, err
}

// WriteTo writes the proof as a file.
func (e *Equivocation) WriteTo(w io.Writer) (int64, error) {
	b, err := e.Encode()
	if err != nil {
		return 0, err
	}
	n, err := w.Write(append([]byte(proofMagic), b...))
	return int64(n), err
}

// ReadEquivocation reads a file that WriteTo wrote. It checks no signature. Every
// error but the reader's wraps ErrBadProof.
func ReadEquivocation(r io.Reader) (*Equivocation, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxProof+int64(len(proofMagic))+1))
	if err != nil {
		return nil, fmt.Errorf("reading a proof: %w", err)
	}
	if len(b) < len(proofMagic) || string(b[:len(proofMagic)]) != proofMagic {
		return nil, fmt.Errorf("%w: it does not begin with %q", ErrBadProof, proofMagic)
	}
	return DecodeEquivocation(b[len(proofMagic):])
}
