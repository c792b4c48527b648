package directory

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// A node without a vote asks one with a vote. One request goes over one stream, and so
// do its answers: one, or for OpWatch one for each change until either side ends it.

// ProtocolVersion is the version of these messages.
const ProtocolVersion = 1

// Op says what a request asks for.
type Op uint8

// The operations.
const (
	OpGet         Op = 1 // the value and revision of Key
	OpCommit      Op = 2 // Writes where Conditions hold
	OpWatch       Op = 3 // all keys that begin with Key, AnswerAll, then each change
	OpVoters      Op = 4 // the members of the engine
	OpRemoveVoter Op = 5 // takes Node out of the members of the engine
)

// Bounds of the messages.
const (
	MaxRequest = 8 << 10  // bytes of an encoded request
	MaxAnswer  = 64 << 10 // bytes of an encoded answer

	maxConditions = 6       // conditions of a transaction
	maxWrites     = 4       // writes of a transaction
	maxKey        = 300     // bytes of a key
	maxValue      = 4 << 10 // bytes of a value
	maxPeers      = 64      // nodes that an answer names
)

// Request is what a node asks.
type Request struct {
	_          struct{} `cbor:",toarray"`
	Version    uint8
	Op         Op
	Cluster    string // the name of the cluster that is meant
	Key        string // with OpGet; with OpWatch, its prefix
	Node       identity.NodeID
	Conditions []ConditionMessage
	Writes     []WriteMessage
}

// ConditionMessage is a Condition as it is sent.
type ConditionMessage struct {
	_        struct{} `cbor:",toarray"`
	Key      string
	Revision int64
}

// WriteMessage is a Write as it is sent.
type WriteMessage struct {
	_      struct{} `cbor:",toarray"`
	Key    string
	Remove bool
	Value  []byte
}

// AnswerCode says what an Answer means. Codes are never given another meaning.
type AnswerCode uint8

// The codes.
const (
	AnswerOK         AnswerCode = 0
	AnswerAll        AnswerCode = 1 // to OpWatch: all keys were sent, changes follow
	AnswerAlive      AnswerCode = 2 // to OpWatch: nothing changed for AliveEvery
	AnswerConflict   AnswerCode = 3 // ErrConflict
	AnswerDenied     AnswerCode = 4 // ErrDenied
	AnswerRemoved    AnswerCode = 5 // ErrRemoved
	AnswerMalformed  AnswerCode = 6 // ErrMalformed
	AnswerVersion    AnswerCode = 7 // ErrVersion
	AnswerBusy       AnswerCode = 8 // ErrBusy
	AnswerNoMajority AnswerCode = 9 // the engine did not answer
)

// Answer is what a request is answered.
type Answer struct {
	_        struct{} `cbor:",toarray"`
	Version  uint8
	Code     AnswerCode
	Text     string // with a refusal: why
	Key      string // to OpWatch
	Value    []byte
	Gone     bool // to OpWatch: the key was removed
	Revision int64
	Peers    []PeerMessage // to OpVoters
}

// PeerMessage is a Voter as it is sent.
type PeerMessage struct {
	_       struct{} `cbor:",toarray"`
	Name    string
	Addr    string
	Learner bool
	Leader  bool
}

// Voter is a member of an embedded engine.
type Voter struct {
	Name    string // the node's id; empty: it has not started
	Addr    string // where the other members reach it
	Learner bool   // it does not vote yet
	Leader  bool
}

// Errors of requests. A refusal says more in its text.
var (
	ErrDenied    = errors.New("the cluster's directory does not let this node do that")
	ErrMalformed = errors.New("malformed request to the cluster's directory")
	ErrVersion   = errors.New("the nodes speak different versions of the directory's protocol: upgrade the older one")
	ErrBusy      = errors.New("this node has too many requests open at the cluster's directory")
	ErrEngine    = errors.New("the cluster's directory does not answer")
)

var answerErrors = map[AnswerCode]error{
	AnswerConflict: ErrConflict, AnswerDenied: ErrDenied, AnswerRemoved: ErrRemoved, AnswerMalformed: ErrMalformed,
	AnswerVersion: ErrVersion, AnswerBusy: ErrBusy, AnswerNoMajority: ErrEngine,
}

// refusal is the answer that says err.
func refusal(err error) *Answer {
	a := &Answer{Version: ProtocolVersion, Code: AnswerNoMajority, Text: err.Error(), Value: []byte{}, Peers: []PeerMessage{}}
	for code, e := range answerErrors {
		if errors.Is(err, e) {
			a.Code = code
		}
	}

	if len(a.Text) > 1024 {
		a.Text = a.Text[:1024]
	}

	a.Text = strings.ToValidUTF8(a.Text, "?")
	return a
}

// Refusal is the encoded answer that says err.
func Refusal(err error) []byte {
	b, _ := refusal(err).encode() // it always encodes
	return b
}

// Err is the error that the answer says; nil: it is none.
func (a *Answer) Err() error {
	switch e := answerErrors[a.Code]; {
	case e == nil:
		return nil
	case a.Text == "" || a.Text == e.Error():
		return e
	case strings.HasPrefix(a.Text, e.Error()):
		return fmt.Errorf("%w%s", e, strings.TrimPrefix(a.Text, e.Error()))
	default:
		return fmt.Errorf("%w: %s", e, a.Text)
	}
}

func (a *Answer) encode() ([]byte, error) { return canon.Marshal(a) }

// DecodeAnswer reads an answer. Errors wrap ErrMalformed or ErrVersion.
func DecodeAnswer(b []byte) (*Answer, error) {
	a := &Answer{}
	if err := canon.Unmarshal(b, a); err != nil {
		return nil, fmt.Errorf("%w: an answer: %w", ErrMalformed, err)
	}
	if a.Version != ProtocolVersion {
		return nil, fmt.Errorf("%w: the answer has version %d", ErrVersion, a.Version)
	}
	if a.Code > AnswerNoMajority || len(a.Peers) > maxPeers {
		return nil, fmt.Errorf("%w: an answer of code %d with %d members", ErrMalformed, a.Code, len(a.Peers))
	}

	return a, nil
}

// NewRequest makes a request about a cluster.
func NewRequest(op Op, cluster string) *Request {
	return &Request{Version: ProtocolVersion, Op: op, Cluster: cluster, Conditions: []ConditionMessage{}, Writes: []WriteMessage{}}
}

// Commit fills in the transaction of an OpCommit.
func (r *Request) Commit(conditions []Condition, writes []Write) {
	for _, c := range conditions {
		r.Conditions = append(r.Conditions, ConditionMessage{Key: c.Key, Revision: c.Revision})
	}
	for _, w := range writes {
		value := w.Value
		if value == nil {
			value = []byte{}
		}
		r.Writes = append(r.Writes, WriteMessage{Key: w.Key, Remove: w.Value == nil, Value: value})
	}
}

// Encode returns the request as it is sent. Errors wrap ErrMalformed.
func (r *Request) Encode() ([]byte, error) {
	b, err := canon.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if len(b) > MaxRequest {
		return nil, fmt.Errorf("%w: it has %d bytes, the limit is %d", ErrMalformed, len(b), MaxRequest)
	}
	return b, nil
}

// DecodeRequest reads a request and checks all that can be checked without the
// directory. Errors wrap ErrMalformed or ErrVersion.
func DecodeRequest(b []byte) (*Request, error) {
	r := &Request{}
	if len(b) > MaxRequest {
		return nil, fmt.Errorf("%w: it has %d bytes, the limit is %d", ErrMalformed, len(b), MaxRequest)
	}
	if err := canon.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if r.Version != ProtocolVersion {
		return nil, fmt.Errorf("%w: the request has version %d, this node speaks %d", ErrVersion, r.Version, ProtocolVersion)
	}
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}

	return r, nil
}

// check refuses fields that the operation does not have, and keys that the directory
// does not have.
func (r *Request) check() error {
	if r.Op != OpCommit && len(r.Conditions)+len(r.Writes) > 0 {
		return fmt.Errorf("operation %d takes no transaction", r.Op)
	}
	if r.Op != OpGet && r.Op != OpWatch && r.Key != "" {
		return fmt.Errorf("operation %d takes no key", r.Op)
	}
	if (r.Op == OpRemoveVoter) != (r.Node != 0) {
		return fmt.Errorf("operation %d with node %s", r.Op, r.Node)
	}

	switch r.Op {
	case OpGet:
		_, err := parseKey(r.Key)
		return err
	case OpCommit:
		return r.checkCommit()
	case OpWatch:
		if r.Key != "" {
			return fmt.Errorf("a watch of %q: the whole directory is watched", clipText(r.Key))
		}
		return nil

	case OpVoters, OpRemoveVoter:
		return nil
	default:
		return fmt.Errorf("unknown operation %d", r.Op)
	}
}

func (r *Request) checkCommit() error {
	if len(r.Writes) == 0 || len(r.Writes) > maxWrites || len(r.Conditions) > maxConditions {
		return fmt.Errorf("a transaction of %d writes and %d conditions: from 1 to %d, and at most %d", len(r.Writes), len(r.Conditions), maxWrites, maxConditions)
	}

	seen := make(map[string]bool)
	for _, c := range r.Conditions {
		if _, err := parseKey(c.Key); err != nil {
			return err
		}
		if seen[c.Key] || c.Revision < 0 {
			return fmt.Errorf("a condition on %q twice, or at revision %d", c.Key, c.Revision)
		}
		seen[c.Key] = true
	}

	clear(seen)
	for _, w := range r.Writes {
		if _, err := parseKey(w.Key); err != nil {
			return err
		}
		if seen[w.Key] || len(w.Value) > maxValue || w.Remove && len(w.Value) > 0 {
			return fmt.Errorf("a write of %d bytes to %q, twice or out of bounds", len(w.Value), w.Key)
		}
		seen[w.Key] = true
	}

	return nil
}

func (r *Request) transaction() ([]Condition, []Write) {
	conditions, writes := make([]Condition, len(r.Conditions)), make([]Write, len(r.Writes))
	for i, c := range r.Conditions {
		conditions[i] = Condition{c.Key, c.Revision}
	}

	for i, w := range r.Writes {
		if writes[i].Key = w.Key; !w.Remove {
			writes[i].Value = append([]byte{}, w.Value...)
		}
	}
	return conditions, writes
}

// parsedKey is a key of the directory in its parts.
type parsedKey struct {
	kind   string
	node   identity.NodeID   // of the kinds that are of a node
	entity identity.EntityID // of daemon
	name   string            // of name and group
}

// parseKey reads a key, of which there is one form only.
func parseKey(key string) (k parsedKey, err error) {
	if len(key) > maxKey {
		return k, fmt.Errorf("a key of %d bytes, the limit is %d", len(key), maxKey)
	}

	rest := ""
	k.kind, rest, _ = strings.Cut(key, "/")
	again := ""

	switch k.kind {
	case "daemon":
		k.entity, err = identity.ParseEntityID(rest)
		again = daemonKey(k.entity)
	case "gone":
		k.entity, err = identity.ParseEntityID(rest)
		again = goneKey(k.entity)
	case "name":
		k.name, again = rest, key
		if !validName(rest) {
			err = fmt.Errorf("%q is not a daemon's name", clipText(rest))
		}

	case "group":
		k.name, again = rest, key
		if !validName(rest) {
			err = fmt.Errorf("%q is not a group's name", clipText(rest))
		}

	case "session", "beat", "member", "removed", "granted", "life":
		k.node, err = identity.ParseNodeID(rest)
		again = k.kind + "/" + k.node.String()
	default:
		err = errors.New("no such kind of key")
	}

	if err == nil && again != key {
		err = errors.New("the key is written in another form")
	}

	if err != nil {
		return parsedKey{}, fmt.Errorf("key %q: %w", clipText(key), err)
	}
	return k, nil
}

// validName is the grammar of daemons' names.
func validName(s string) bool {
	if s == "" || len(s) > 63 {
		return false
	}

	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || c != '-' && c != '_' && c != '.') {
			return false
		}
	}

	return true
}

func clipText(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}

// Serve answers a request that the caller sent: it calls send for each answer, one at a
// time, and returns when there are no more. The answer says every error but those of
// send.
func (g *Guard) Serve(ctx context.Context, c Caller, request []byte, send func([]byte) error) error {
	r, err := DecodeRequest(request)
	if err == nil && r.Cluster != g.cluster {
		err = fmt.Errorf("%w: this node is in cluster %q, not %q", ErrDenied, g.cluster, clipText(r.Cluster))
	}

	var a *Answer
	if err == nil {
		a, err = g.answer(ctx, c, r, send)
	}

	var failed *sendError
	if errors.As(err, &failed) {
		return failed.err
	}
	if err != nil {
		g.refused(c, err)
		a = refusal(err)
	}

	return sendAnswer(a, send)
}

// sendError is an error of the way to the caller, not one that the caller is told.
type sendError struct{ err error }

func (e *sendError) Error() string { return e.err.Error() }
func (e *sendError) Unwrap() error { return e.err }

func sendAnswer(a *Answer, send func([]byte) error) error {
	a.Version = ProtocolVersion
	if a.Value == nil {
		a.Value = []byte{}
	}

	if a.Peers == nil {
		a.Peers = []PeerMessage{}
	}

	b, err := a.encode()
	if err == nil {
		err = send(b)
	}

	if err != nil {
		return &sendError{err}
	}
	return nil
}

func (g *Guard) answer(ctx context.Context, c Caller, r *Request, send func([]byte) error) (*Answer, error) {
	switch r.Op {
	case OpGet:
		value, revision, err := g.Get(ctx, c, r.Key)
		if len(value) > maxValue {
			return nil, fmt.Errorf("%w: the value of %q has %d bytes", ErrEngine, r.Key, len(value))
		}
		return &Answer{Value: value, Revision: revision}, err

	case OpCommit:
		conditions, writes := r.transaction()
		revision, err := g.Commit(ctx, c, conditions, writes)
		return &Answer{Revision: revision}, err

	case OpVoters:
		return g.answerVoters(ctx, c)
	case OpRemoveVoter:
		return &Answer{}, g.RemoveVoter(ctx, c, r.Node)
	default: // OpWatch
		return nil, g.answerWatch(ctx, c, send)
	}
}

func (g *Guard) answerVoters(ctx context.Context, c Caller) (*Answer, error) {
	voters, err := g.Voters(ctx, c)
	a := &Answer{}
	for _, v := range voters {
		a.Peers = append(a.Peers, PeerMessage{Name: v.Name, Addr: v.Addr, Learner: v.Learner, Leader: v.Leader})
	}
	return a, err
}

func (g *Guard) answerWatch(ctx context.Context, c Caller, send func([]byte) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	changes := make(chan *Answer, 256)
	ended := make(chan error, 1)
	go func() {
		ended <- g.Watch(ctx, c, func(ch *Change) {
			a := &Answer{Code: AnswerAll}
			if ch != nil {
				a = &Answer{Key: ch.Key, Value: ch.Value, Gone: ch.Value == nil, Revision: ch.Revision}
				if len(ch.Value) > maxValue || len(ch.Key) > maxKey {
					return // it is none of ours: no node reads it
				}
			}

			select {
			case changes <- a:
			case <-ctx.Done():
			}
		})
	}()

	alive := g.tick(AliveEvery)
	defer alive.Stop()
	for {
		var a *Answer
		select {
		case a = <-changes:
		case <-alive.C:
			a = &Answer{Code: AnswerAlive}
		case err := <-ended:
			if err == nil {
				err = ErrEngine
			}
			return err
		}

		if err := sendAnswer(a, send); err != nil {
			cancel(err)
			<-ended
			return err
		}
	}
}

// IsWatch reports whether an encoded request is an OpWatch, which holds what it takes
// until it ends.
func IsWatch(b []byte) bool {
	r, err := DecodeRequest(b)
	return err == nil && r.Op == OpWatch
}
