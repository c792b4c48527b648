package chain

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// A chain file is a line that names the format, then frames (four bytes of
// length, big-endian, then canonical CBOR): a fileHeader, fileItems, and at
// the end the seal, without which the file is known to be cut short.
const fileMagic = "wasmhost-chain-1\n"

// maxChainItem bounds one frame: an output and its link.
const maxItem = 17 << 20

type fileHeader struct {
	_       struct{} `cbor:",toarray"`
	Entity  identity.EntityID
	Kind    string
	Module  []byte
	Head    Link // what the first output follows
	Payload []byte
	Begin   Checkpoint // PurposeRestart: the daemon's signature under where the file begins
}

// fileItem is one of: an output, a checkpoint, a move, the seal.
type fileItem struct {
	_        struct{} `cbor:",toarray"`
	Tag      uint8
	Links    []Link // one, for an output
	Payload  []byte
	Checks   []Checkpoint // one, for the others
	From, To identity.NodeID
	Epoch    uint64
}

const (
	itemOutput = 1
	itemCheck  = 2
	itemMove   = 3
	itemSeal   = 4

	itemUpgrade = 5 // Payload is the new module's digest
	itemMend    = 6 // Payload is the Mended
)

// Writer writes a chain file, item by item, as they stand in the chain. It is for
// one goroutine. What it writes is not checked: that is for whoever reads it.
type Writer struct{ w *bufio.Writer }

// NewWriter returns a writer to w. Begin comes first, Seal last.
func NewWriter(w io.Writer) *Writer {
	return &Writer{bufio.NewWriterSize(w, 64<<10)}
}

// Begin writes what the first output follows, under the daemon's signature.
func (c *Writer) Begin(entity identity.EntityID, kind string, module []byte, head *Link, payload []byte, begin *Checkpoint) error {
	if _, err := c.w.WriteString(fileMagic); err != nil {
		return err
	}
	return c.frame(&fileHeader{Entity: entity, Kind: kind, Module: module, Head: *head, Payload: payload, Begin: *begin})
}

// Output writes an output.
func (c *Writer) Output(o *Output) error {
	return c.frame(&fileItem{Tag: itemOutput, Links: []Link{o.Link}, Payload: o.Payload})
}

// Check writes a periodic checkpoint.
func (c *Writer) Check(p *Checkpoint) error {
	return c.frame(&fileItem{Tag: itemCheck, Checks: []Checkpoint{*p}})
}

// Move writes a change of owner, by the hand-over that the daemon signed.
func (c *Writer) Move(from, to identity.NodeID, epoch uint64, p *Checkpoint) error {
	return c.frame(&fileItem{Tag: itemMove, Checks: []Checkpoint{*p}, From: from, To: to, Epoch: epoch})
}

// Upgrade writes a change of code: to the module of that digest.
func (c *Writer) Upgrade(module []byte, p *Checkpoint) error {
	return c.frame(&fileItem{Tag: itemUpgrade, Payload: module, Checks: []Checkpoint{*p}})
}

// Mended writes a mending.
func (c *Writer) Mended(m *Mended, p *Checkpoint) error {
	fact, err := m.encode()
	if err != nil {
		return err
	}
	return c.frame(&fileItem{Tag: itemMend, Payload: fact, Checks: []Checkpoint{*p}})
}

// Seal writes the end, and flushes.
func (c *Writer) Seal(p *Checkpoint) error {
	if err := c.frame(&fileItem{Tag: itemSeal, Checks: []Checkpoint{*p}}); err != nil {
		return err
	}
	return c.w.Flush()
}

func (c *Writer) frame(v any) error {
	b, err := canon.Marshal(v)
	if err != nil {
		return err
	}
	return canon.WriteFrame(c.w, b)
}

// Report is what a chain file proves.
type Report struct {
	Entity      identity.EntityID
	Kind        string
	Module      []byte
	First, Last uint64 // sequences of the first and last output; Last < First when there are none
	Outputs     uint64
	Checkpoints uint64 // signatures that verified, the seal included
	Moves       []Move
	Upgrades    []Upgrade
	Mended      []Mended
	Epoch       uint64
	Head        Hash
	Fork        *ForkRecord // how the daemon began, where it is a fork and the file begins at its genesis; else nil
}

// Move is one change of owner that a chain proves.
type Move struct {
	From, To identity.NodeID
	Epoch    uint64
	After    uint64 // sequence of the last output before it

	PublicOnly bool // the daemon's key stayed with From: nothing is signed under Epoch
}

// Upgrade is one change of code that a chain proves.
type Upgrade struct {
	Module []byte // SHA-256 of the new module
	After  uint64 // sequence of the last output before it
}

// ErrCut says that a chain file ends before its seal.
var ErrCut = errors.New("the file ends before its seal: it was cut short")

// ErrBadFile says that a file is no chain file.
var ErrBadFile = errors.New("malformed chain file")

// ErrUnsigned says that a checkpoint carries no signature. It is an
// identity.ErrInvalidSignature.
var ErrUnsigned = fmt.Errorf("%w: the checkpoint is not signed: the daemon ran where it had no private key", identity.ErrInvalidSignature)

// Error is why a chain does not hold: at which item of the file, counted
// from 0, and after which output.
type Error struct {
	Item     int
	Sequence uint64 // of the link at fault, or of the last good one before it
	Err      error
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("chain breaks at item %d, link %d: %v", e.Item, e.Sequence, e.Err)
}

// Unwrap returns what is wrong.
func (e *Error) Unwrap() error { return e.Err }

// Item is one item of a chain file, for those who show it.
type Item struct {
	Output     *Output
	Checkpoint *Checkpoint
	Move       *Move
	Upgrade    *Upgrade
	Mended     *Mended
}

// Verify reads a chain file and checks every hash and every signature. It
// needs no host. An error is a *Error that names the first bad link.
func Verify(r io.Reader) (Report, error) { return Walk(r, nil) }

// Walk is Verify, and calls fn, where it is not nil, with every item
// that holds.
func Walk(r io.Reader, fn func(Item) error) (Report, error) {
	v := &verifier{r: bufio.NewReaderSize(r, 64<<10), fn: fn}
	err := v.run()
	if err != nil {
		err = &Error{Item: v.item, Sequence: v.at, Err: err}
	}
	return v.report, err
}

type verifier struct {
	r      *bufio.Reader
	fn     func(Item) error
	report Report
	head   Link
	hash   Hash
	item   int
	at     uint64
	next   uint64 // epoch of the outputs to come

	claims *Claims // takes what the chain says; may be nil

	see      func(*Link, Hash) // called with each link that holds, the first one's predecessor included; may be nil
	upgraded func(Upgrade)     // may be nil
}

func (v *verifier) run() error {
	magic := make([]byte, len(fileMagic))
	if _, err := io.ReadFull(v.r, magic); err != nil || string(magic) != fileMagic {
		return fmt.Errorf("%w: it does not begin with %q", ErrBadFile, fileMagic)
	}
	if err := v.header(); err != nil {
		return err
	}

	for {
		v.item++
		var i fileItem
		if err := v.read(&i); err != nil {
			return err
		}

		done, err := v.check(&i)
		if err != nil {
			return err
		}
		if done {
			if _, err := v.r.ReadByte(); err != io.EOF {
				return fmt.Errorf("%w: bytes follow the seal", ErrBadFile)
			}
			return nil
		}
	}
}

func (v *verifier) read(into any) error {
	b, err := canon.ReadFrame(v.r, maxItem)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return ErrCut
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBadFile, err)
	}
	if err := canon.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%w: %w", ErrBadFile, err)
	}

	return nil
}

func (v *verifier) header() error {
	var h fileHeader
	if err := v.read(&h); err != nil {
		return err
	}

	v.head, v.hash, v.at = h.Head, h.Head.Hash(h.Payload), h.Head.Sequence
	v.report = Report{Entity: h.Entity, Kind: h.Kind, Module: h.Module, First: h.Head.Sequence + 1, Last: h.Head.Sequence, Head: v.hash}
	if h.Head.Origin != h.Entity {
		return ErrOriginMismatch
	}
	if h.Head.Sequence == 0 {
		if err := v.genesis(&h); err != nil {
			return err
		}
	}

	if v.see != nil {
		v.see(&h.Head, v.hash)
	}

	if v.claims != nil {
		v.claims.Output(&h.Head, h.Payload, v.hash)
	}

	purpose := PurposeRestart
	if h.Begin.Purpose == PurposeSnapshot { // the daemon came from a node that keeps no history
		purpose = PurposeSnapshot
	}

	if err := v.signed(&h.Begin, purpose); err != nil {
		return err
	}
	if purpose == PurposeRestart && !bytes.Equal(h.Begin.State, CodeHash(h.Kind, h.Module)) {
		return fmt.Errorf("%w: the kind or module is not the one that was signed", identity.ErrInvalidSignature)
	}
	if h.Begin.Epoch < h.Head.Epoch {
		return ErrEpochBackwards
	}

	v.next = h.Begin.Epoch
	v.report.Epoch = v.next
	return nil
}

// genesis checks the link before the first output: of a daemon that was spawned,
// or of a fork.
func (v *verifier) genesis(h *fileHeader) error {
	if len(h.Payload) == 0 {
		if h.Head.Parent != (Hash{}) {
			return fmt.Errorf("%w: a genesis that follows %s, and says nothing of a fork", ErrParentMismatch, h.Head.Parent)
		}
		return nil
	}

	f, err := ForkOfGenesis(&h.Head, h.Payload)
	if err != nil {
		return err
	}
	if !bytes.Equal(f.Module, h.Module) {
		return fmt.Errorf("%w: it is of module %.12x, the chain of %.12x", ErrBadFork, f.Module, h.Module)
	}

	v.report.Fork = f
	return nil
}

// signed checks that the checkpoint stands at the head and is signed.
func (v *verifier) signed(c *Checkpoint, purpose Purpose) error {
	switch {
	case c.Purpose != purpose:
		return fmt.Errorf("%w: a checkpoint of purpose %d where %d should be", ErrBadFile, c.Purpose, purpose)
	case c.Entity != v.report.Entity:
		return ErrOriginMismatch
	case c.Sequence != v.head.Sequence || c.Head != v.hash:
		return fmt.Errorf("%w: a checkpoint signs head %s at sequence %d, the chain has %s at %d",
			ErrParentMismatch, c.Head, c.Sequence, v.hash, v.head.Sequence)
	}

	proven, err := c.verified()
	if err != nil {
		return err
	}

	v.report.Checkpoints++
	if v.claims != nil {
		v.claims.check(proven)
	}
	return nil
}

func (v *verifier) check(i *fileItem) (done bool, err error) {
	if i.Tag != itemMove && (i.From != 0 || i.To != 0 || i.Epoch != 0) || i.Tag != itemOutput && i.Tag != itemUpgrade && i.Tag != itemMend && len(i.Payload) != 0 {
		return false, fmt.Errorf("%w: an item of tag %d with fields of another", ErrBadFile, i.Tag)
	}

	var show Item
	switch {
	case i.Tag == itemOutput && len(i.Links) == 1 && len(i.Checks) == 0:
		l := &i.Links[0]
		v.at = l.Sequence
		if err := v.head.Follows(v.hash, l); err != nil {
			return false, err
		}
		if l.Epoch != v.next {
			return false, fmt.Errorf("%w: link of epoch %d where no move to it is proven; the epoch is %d", ErrEpochBackwards, l.Epoch, v.next)
		}

		v.head, v.hash = *l, l.Hash(i.Payload)
		if v.see != nil {
			v.see(l, v.hash)
		}

		if v.claims != nil {
			v.claims.Output(l, i.Payload, v.hash)
		}

		v.report.Outputs++
		v.report.Last, v.report.Head = l.Sequence, v.hash
		show.Output = &Output{Link: *l, Payload: i.Payload}

	case i.Tag == itemCheck && len(i.Checks) == 1 && len(i.Links) == 0:
		if err := v.signed(&i.Checks[0], PurposePeriodic); err != nil {
			return false, err
		}
		show.Checkpoint = &i.Checks[0]

	case i.Tag == itemMove && len(i.Checks) == 1 && len(i.Links) == 0:
		c := &i.Checks[0]
		if err := v.signed(c, PurposeHandover); err != nil {
			return false, err
		}

		public := bytes.Equal(c.State, HandoverPublic(i.From, i.To))
		if !public && !bytes.Equal(c.State, Handover(i.From, i.To)) {
			return false, fmt.Errorf("%w: the move from %s to %s is not the one that was signed", identity.ErrInvalidSignature, i.From, i.To)
		}
		if i.Epoch != c.Epoch || i.Epoch <= v.next {
			return false, fmt.Errorf("%w: a move to epoch %d, signed for %d, after %d", ErrEpochBackwards, i.Epoch, c.Epoch, v.next)
		}

		v.next, v.report.Epoch = i.Epoch, i.Epoch
		m := Move{From: i.From, To: i.To, Epoch: i.Epoch, After: v.head.Sequence, PublicOnly: public}
		v.report.Moves = append(v.report.Moves, m)
		show.Move = &m

	case i.Tag == itemUpgrade && len(i.Checks) == 1 && len(i.Links) == 0 && len(i.Payload) == 32:
		if err := v.signed(&i.Checks[0], PurposeUpgrade); err != nil {
			return false, err
		}
		if !bytes.Equal(i.Checks[0].State, CodeHash(v.report.Kind, i.Payload)) {
			return false, fmt.Errorf("%w: the new module is not the one that was signed", identity.ErrInvalidSignature)
		}
		if i.Checks[0].Epoch != v.next {
			return false, fmt.Errorf("%w: an upgrade in epoch %d, the chain is in %d", ErrEpochBackwards, i.Checks[0].Epoch, v.next)
		}

		v.report.Module = i.Payload
		show.Upgrade = &Upgrade{Module: i.Payload, After: v.head.Sequence}
		v.report.Upgrades = append(v.report.Upgrades, *show.Upgrade)
		if v.upgraded != nil {
			v.upgraded(*show.Upgrade)
		}

	case i.Tag == itemMend && len(i.Checks) == 1 && len(i.Links) == 0:
		if show.Mended, err = v.mended(i); err != nil {
			return false, err
		}

	case i.Tag == itemSeal && len(i.Checks) == 1 && len(i.Links) == 0:
		if err := v.signed(&i.Checks[0], PurposeExport); err != nil {
			return false, err
		}
		if i.Checks[0].Epoch != v.next {
			return false, fmt.Errorf("%w: the seal is of epoch %d, the chain of %d", ErrEpochBackwards, i.Checks[0].Epoch, v.next)
		}
		show.Checkpoint, done = &i.Checks[0], true

	default:
		return false, fmt.Errorf("%w: an item of tag %d with %d links and %d checkpoints", ErrBadFile, i.Tag, len(i.Links), len(i.Checks))
	}

	if v.fn != nil {
		if err := v.fn(show); err != nil {
			return false, err
		}
	}
	return done, nil
}
