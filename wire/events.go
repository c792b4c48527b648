package wire

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/quic-go/quic-go"

	"wasmhost.example/abi"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// On an events stream the opener first says which daemon it sends to, then
// sends events; the answers come in the same order.

// openEvents is the first frame.
type openEvents struct {
	_      struct{} `cbor:",toarray"`
	Entity identity.EntityID
}

// eventFrame is one event.
type eventFrame struct {
	_       struct{} `cbor:",toarray"`
	Sender  identity.EntityID
	Number  uint64
	Channel string
	Payload []byte
}

// replyFrame is what became of one event.
type replyFrame struct {
	_         struct{} `cbor:",toarray"`
	Code      uint8
	Text      string
	Duplicate bool
	Links     []chain.Link
	Payloads  [][]byte
	Moved     []movedFrame // one, with codeMoved
	Fault     []faultFrame // one, with codeFault
}

type movedFrame struct {
	_     struct{} `cbor:",toarray"`
	Node  identity.NodeID
	Epoch uint64
	Time  int64
}

type faultFrame struct {
	_     struct{} `cbor:",toarray"`
	Kind  string
	Call  string
	Code  int32
	Limit string
	Text  string
	Stack string
}

// Bounds of one frame: an event, and the outputs of one event.
const (
	maxEventFrame = 17 << 20 // bytes of one event between nodes
	maxReplyFrame = 33 << 20 // bytes of what answers it
	maxReplyText  = 8 << 10  // bytes of an error's text
)

// Codes of a replyFrame. Append-only.
const (
	codeOK          = 0
	codeFault       = 1
	codeMoved       = 2
	codeNotFound    = 3
	codeMailbox     = 4
	codeTooLarge    = 5
	codeNotReady    = 6
	codeShutdown    = 7
	codeHorizon     = 8
	codeOther       = 9
	codePoisoned    = 10
	codeEventFailed = 11 // the daemon returned an error that is no fault
	codeSuperseded  = 12
	codeReused      = 13
	codeNoSpace     = 14
	codeEquivocated = 15
	codeComing      = 16
	codeSenderQuota = 17
	codeReserved    = 18
	codeEventNumber = 19
	codeHalted      = 20
	codeHeld        = 21
)

var codeErrors = map[uint8]error{
	codeMailbox: daemon.ErrMailboxFull, codeTooLarge: daemon.ErrTooLarge, codeNotReady: daemon.ErrNotReady,
	codeShutdown: daemon.ErrShuttingDown, codeHorizon: daemon.ErrHorizonFull, codePoisoned: store.ErrPoisoned,
	codeSuperseded: daemon.ErrSuperseded, codeReused: daemon.ErrReused, codeNoSpace: store.ErrNoSpace,
	codeEquivocated: chain.ErrEquivocated, codeComing: daemon.ErrComing,
	codeSenderQuota: daemon.ErrSenderQuota, codeReserved: daemon.ErrReserved, codeEventNumber: daemon.ErrEventNumber,
	codeHalted: daemon.ErrHalted, codeHeld: daemon.ErrHeld,
}

// remoteError is an error of another node in its own words.
type remoteError struct {
	text string
	is   error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.is }

// PassesOn reports whether events may follow one that was refused with err:
// nothing would change if it came again, so that none after it overtakes it.
func PassesOn(err error) bool {
	return errors.Is(err, daemon.ErrTooLarge) || errors.Is(err, daemon.ErrSuperseded) || errors.Is(err, daemon.ErrReused) ||
		errors.Is(err, daemon.ErrReserved) || errors.Is(err, daemon.ErrEventNumber)
}

// ErrRemote is wrapped by an error of another node that has no type of its
// own here.
var ErrRemote = errors.New("the daemon's node answered with an error")

func replyOf(res daemon.Result, err error) *replyFrame {
	r := &replyFrame{Duplicate: res.Duplicate}
	for _, o := range res.Outputs {
		r.Links, r.Payloads = append(r.Links, o.Link), append(r.Payloads, o.Payload)
	}

	if err == nil {
		return r
	}

	r.Code, r.Text = codeOther, clip(err.Error(), maxReplyText)
	var fault *abi.Fault
	var moved *daemon.MovedError

	switch {
	case errors.As(err, &fault):
		r.Code = codeFault
		r.Fault = []faultFrame{{Kind: string(fault.Kind), Call: fault.Call, Code: fault.Code, Limit: fault.Limit, Text: fault.Text, Stack: clip(fault.Stack, maxReplyText)}}
	case errors.As(err, &moved):
		r.Code = codeMoved
		r.Moved = []movedFrame{{Node: moved.Node, Epoch: moved.Epoch, Time: moved.Time.UnixNano()}}
	case errors.Is(err, daemon.ErrNotFound):
		r.Code = codeNotFound
	default:
		for code, e := range codeErrors {
			if errors.Is(err, e) {
				r.Code = code
			}
		}
	}

	return r
}

// refuseEvents answers an events stream of a node that takes none, or none yet: the
// sender of the first event hears that before it is read.
func (m *Mesh) refuseEvents(from identity.NodeID, stream *quic.Stream) {
	var open openEvents
	b, err := canon.ReadFrame(stream, 1024)
	if err == nil {
		err = canon.Unmarshal(b, &open)
	}

	if err == nil {
		why := fmt.Errorf("%w: node %s starts", daemon.ErrNotReady, m.id)
		if m.config.NoDaemons {
			why = &daemon.NotFoundError{Entity: open.Entity}
		}
		err = writeItem(stream, replyOf(daemon.Result{}, why))
	}

	if err != nil {
		m.config.Logger.Debug("refusing events", "from", from, "error", err)
		cut(stream)
		return
	}

	stream.CancelRead(codeDone)
	if err := stream.Close(); err != nil {
		m.config.Logger.Debug("closing an events stream", "from", from, "error", err)
	}
}

func clip(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return string([]rune(s)) // what the cut left of a character is replaced
}

// result is what replyOf took apart.
func (r *replyFrame) result(entity identity.EntityID) (daemon.Result, error) {
	switch {
	case r.Code == codeFault && len(r.Fault) == 1:
		f := r.Fault[0]
		return daemon.Result{Duplicate: r.Duplicate}, &abi.Fault{Kind: abi.FaultKind(f.Kind), Call: f.Call, Code: f.Code, Limit: f.Limit, Text: f.Text, Stack: f.Stack}
	case r.Code == codeMoved && len(r.Moved) == 1:
		m := r.Moved[0]
		return daemon.Result{}, &daemon.MovedError{Moved: daemon.Moved{Entity: entity, Node: m.Node, Epoch: m.Epoch, Time: time.Unix(0, m.Time)}}
	case r.Code == codeNotFound:
		return daemon.Result{}, &daemon.NotFoundError{Entity: entity}
	case codeErrors[r.Code] != nil:
		return daemon.Result{}, &remoteError{r.Text, codeErrors[r.Code]}
	case r.Code != codeOK:
		return daemon.Result{}, fmt.Errorf("%w: %s", ErrRemote, r.Text)
	}

	res := daemon.Result{Duplicate: r.Duplicate, Outputs: make([]chain.Output, len(r.Links))}
	for i := range r.Links {
		res.Outputs[i] = chain.Output{Link: r.Links[i], Payload: r.Payloads[i]}
	}
	return res, nil
}

func decodeReply(b []byte) (*replyFrame, error) {
	r := &replyFrame{}
	if err := canon.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("reading a reply: %w", err)
	}
	if len(r.Links) != len(r.Payloads) {
		return nil, errors.New("reading a reply: links and payloads differ in number")
	}
	return r, nil
}

func decodeEvent(b []byte) (*eventFrame, error) {
	e := &eventFrame{}
	if err := canon.Unmarshal(b, e); err != nil {
		return nil, fmt.Errorf("reading an event: %w", err)
	}
	return e, nil
}

func writeItem(w io.Writer, v any) error {
	b, err := canon.Marshal(v)
	if err != nil {
		return err
	}
	return canon.WriteFrame(w, b)
}
