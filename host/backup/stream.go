package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"time"
)

// A node gives a backup as a tar stream: plan, which says how much comes; an
// object, or the name of one that the other side has, for each file; and the
// signed manifest, without which the stream is cut.

const (
	planName     = "plan"
	hadPrefix    = "had/"
	manifestEnd  = "manifest"
	sizeRecord   = "WASMHOST.size"
	maxPlan      = 1 << 10 // bytes of a stream's plan
	streamBuffer = 256 << 10
)

type plan struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
}

// Source is the content of a data directory that does not change.
type Source interface {
	Open(path string) (io.ReadCloser, error)
}

// Send writes the files of src to w as a stream that Create reads. m says which
// files: Send fills their digests in. seal completes the manifest once they are
// known. Objects that has reports are named, not sent.
func Send(ctx context.Context, w io.Writer, src Source, m *Manifest, has func(digest string) bool, seal func(*Manifest) error) error {
	t := tar.NewWriter(w)
	head, err := json.Marshal(plan{len(m.Files), m.Size()})
	if err != nil {
		return err
	}
	if err := writeEntry(t, planName, head); err != nil {
		return err
	}

	sent := make(map[string]bool)
	for i := range m.Files {
		f := &m.Files[i]
		if err := ctx.Err(); err != nil {
			return err
		}
		if f.SHA256, err = digestOf(ctx, src, f); err != nil {
			return err
		}

		if sent[f.SHA256] || has(f.SHA256) {
			h := &tar.Header{Typeflag: tar.TypeReg, Name: hadPrefix + f.SHA256, Format: tar.FormatPAX, PAXRecords: map[string]string{sizeRecord: strconv.FormatInt(f.Size, 10)}}
			if err := t.WriteHeader(h); err != nil {
				return err
			}
			continue
		}

		if err := sendFile(ctx, t, src, f); err != nil {
			return err
		}

		sent[f.SHA256] = true
	}

	if err := seal(m); err != nil {
		return err
	}

	text, err := m.Encode()
	if err != nil {
		return err
	}
	if err := writeEntry(t, manifestEnd, text); err != nil {
		return err
	}

	return t.Close()
}

func writeEntry(t *tar.Writer, name string, b []byte) error {
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(b)), Format: tar.FormatPAX}); err != nil {
		return err
	}
	_, err := t.Write(b)
	return err
}

func digestOf(ctx context.Context, src Source, f *File) (_ string, err error) {
	r, err := src.Open(f.Path)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", f.Path, err)
	}

	defer func() { err = errors.Join(err, r.Close()) }()
	h := sha256.New()
	n, err := copyWithin(ctx, h, r, true)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", f.Path, err)
	}
	if n != f.Size {
		return "", fmt.Errorf("%w: %s has %d bytes, and had %d", ErrDamaged, f.Path, n, f.Size)
	}

	return hex.EncodeToString(h.Sum(nil)), nil
}

func sendFile(ctx context.Context, t *tar.Writer, src Source, f *File) (err error) {
	r, err := src.Open(f.Path)
	if err != nil {
		return fmt.Errorf("reading %s: %w", f.Path, err)
	}

	defer func() { err = errors.Join(err, r.Close()) }()
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: objectName(f.SHA256), Size: f.Size, Format: tar.FormatPAX}); err != nil {
		return err
	}

	n, err := copyWithin(ctx, t, io.LimitReader(r, f.Size), true)
	if err == nil && n != f.Size {
		err = fmt.Errorf("%w: %s has %d bytes, and had %d", ErrDamaged, f.Path, n, f.Size)
	}
	return err
}

// maxRest bounds for how long a backup rests after each part of its work.
const maxRest = 10 * time.Millisecond

// rest makes a backup take no more than half of a processor's time and of a disk's from
// those who send events meanwhile: it waits for as long as the work since began took.
func rest(ctx context.Context, began time.Time) error {
	t := time.NewTimer(min(time.Since(began), maxRest))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// copyWithin is io.Copy that ends with ctx, and rests after each part if it is told to.
func copyWithin(ctx context.Context, w io.Writer, r io.Reader, rests bool) (n int64, err error) {
	buf := make([]byte, streamBuffer)
	for {
		began := time.Now()
		if err := ctx.Err(); err != nil {
			return n, err
		}

		k, err := r.Read(buf)
		if k > 0 {
			if _, err := w.Write(buf[:k]); err != nil {
				return n, err
			}

			n += int64(k)
			if rests {
				if err := rest(ctx, began); err != nil {
					return n, err
				}
			}
		}

		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// Create makes a backup in the place of what a node sends, and returns its
// manifest. The manifest is written last: a backup is whole or not there. A
// stream that ends early is ErrCut, one that contradicts itself ErrDamaged.
func Create(ctx context.Context, to Objects, stream io.Reader, tell func(Progress)) (*Manifest, error) {
	t := tar.NewReader(stream)
	head, err := nextOf(t, planName, maxPlan)
	if err != nil {
		return nil, err
	}

	var p plan
	if err := json.Unmarshal(head, &p); err != nil || p.Bytes < 0 || p.Files < 0 {
		return nil, damaged("the node's plan is %.80q", head)
	}

	now := Progress{Phase: "backup", Whole: p.Bytes}
	tell(now)
	stored := make(map[string]int64) // sizes by digest

	for {
		h, err := t.Next()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrCut, eofUnexpected(err))
		}
		if h.Name == manifestEnd {
			return finish(ctx, to, t, h.Size, stored)
		}
		if len(stored) >= MaxFiles {
			return nil, damaged("the node sends more than %d files", MaxFiles)
		}

		digest, size, err := receive(ctx, to, t, h, &now, tell)
		if err != nil {
			return nil, err
		}

		stored[digest] = size
		now.Files++
		tell(now)
	}
}

func eofUnexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func nextOf(t *tar.Reader, name string, limit int64) ([]byte, error) {
	h, err := t.Next()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCut, eofUnexpected(err))
	}
	if h.Name != name || h.Size > limit {
		return nil, damaged("the node sends %.80q of %d bytes where %s should be", h.Name, h.Size, name)
	}

	b, err := io.ReadAll(t)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCut, err)
	}
	return b, nil
}

// receive stores the object that the stream stands at.
func receive(ctx context.Context, to Objects, t *tar.Reader, h *tar.Header, now *Progress, tell func(Progress)) (digest string, size int64, err error) {
	if len(h.Name) > len(hadPrefix) && h.Name[:len(hadPrefix)] == hadPrefix {
		digest = h.Name[len(hadPrefix):]
		if size, err = strconv.ParseInt(h.PAXRecords[sizeRecord], 10, 64); err != nil || size < 0 || !validDigest(digest) {
			return "", 0, damaged("the node names the object %.80q of %.20q bytes", digest, h.PAXRecords[sizeRecord])
		}
		now.Done += size
		return digest, size, nil
	}

	if !ValidName(h.Name) || h.Typeflag != tar.TypeReg || len(h.Name) <= len(objectPrefix) || h.Name[:len(objectPrefix)] != objectPrefix {
		return "", 0, damaged("the node sends %.80q", h.Name)
	}

	digest = h.Name[len(objectPrefix):]
	r := &checked{r: t, hash: sha256.New(), want: digest, left: h.Size, read: func(n int) {
		now.Done += int64(n)
		now.Fresh += int64(n)
		tell(*now)
	}}
	if err := to.Put(ctx, h.Name, h.Size, r); err != nil {
		return "", 0, err
	}
	if r.left > 0 {
		return "", 0, fmt.Errorf("storing the object %s: %d bytes were not read", digest, r.left)
	}

	return digest, h.Size, nil
}

// checked fails at its end where what was read does not have the digest, so that a
// place never stores it.
type checked struct {
	r    io.Reader
	hash hash.Hash
	want string
	left int64
	read func(n int)
}

// Read implements io.Reader.
func (c *checked) Read(b []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}

	n, err := c.r.Read(b[:min(int64(len(b)), c.left)])
	c.hash.Write(b[:n])
	c.left -= int64(n)
	c.read(n)
	if c.left > 0 {
		return n, eofUnexpected(err)
	}
	if got := hex.EncodeToString(c.hash.Sum(nil)); got != c.want {
		return 0, damaged("the object %s has the digest %s", c.want, got)
	}

	return n, nil
}

// finish stores the manifest, every object of which is stored.
func finish(ctx context.Context, to Objects, t *tar.Reader, size int64, stored map[string]int64) (*Manifest, error) {
	if size > MaxManifest {
		return nil, damaged("the node's manifest has %d bytes", size)
	}

	text, err := io.ReadAll(t)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCut, err)
	}

	m, err := Parse(text)
	if err != nil {
		return nil, err
	}

	for _, f := range m.Files {
		if n, ok := stored[f.SHA256]; !ok || n != f.Size {
			return nil, damaged("the node's manifest names %s, which it did not send", f.Path)
		}
	}

	if err := to.Put(ctx, manifestName(m.ID), int64(len(text)), bytes.NewReader(text)); err != nil {
		return nil, err
	}
	return m, nil
}
