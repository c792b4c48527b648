// Package control is the HTTP API by which a node is operated: its server, a
// Go client, and the errors that both know.
package control

import (
	"encoding/base64"
	"encoding/hex"
	"time"
	"unicode/utf8"

	"wasmhost/abi"
	"wasmhost/host"
	"wasmhost/host/chain"
	"wasmhost/host/daemon"
	"wasmhost/host/migration"
)

// Node is what a node says of itself.
type Node struct {
	NodeID  string `json:"node_id"`
	Name    string `json:"name"`
	Addr    string `json:"addr"`
	Key     string `json:"key,omitempty"`
	Self    bool   `json:"self"`
	Online  bool   `json:"connected"`
	Rights  string `json:"rights,omitempty"` // what the peer may do here
	Denied  uint64 `json:"denied,omitempty"` // how often it asked for more
	Version string `json:"version,omitempty"`

	Capabilities *Capabilities `json:"capabilities,omitempty"` // of one node that was asked, and answered
	Budgets      []NodeBudget  `json:"budgets,omitempty"`      // of the node itself, for callers that are no nodes
}

// NodeBudget is one of a node's bounds on the bytes that it holds for callers.
type NodeBudget struct {
	Name    string `json:"name"`
	Used    int64  `json:"used"` // bytes, as Peak and Most
	Peak    int64  `json:"peak"` // since the node started
	Most    int64  `json:"most"`
	Waiting int    `json:"waiting"` // callers
	Refused uint64 `json:"refused"` // requests, since the node started
}

// Kind is a kind. Report is only in the answer about one kind.
type Kind struct {
	Name    string      `json:"name"`
	Digest  string      `json:"digest"`
	Size    int64       `json:"size"`
	Pushed  time.Time   `json:"pushed"`
	Daemons int         `json:"daemons"`
	State   string      `json:"state,omitempty"`
	Report  *abi.Report `json:"report,omitempty"`

	Limits map[string]int64 `json:"limits,omitempty"` // of its own: bytes, counts, nanoseconds

	Nodes []PushedTo `json:"nodes,omitempty"` // to which it was pushed as well
}

// PushedTo is what became of a kind at a node that it was pushed on to.
type PushedTo struct {
	NodeID string   `json:"node_id"`
	Name   string   `json:"name,omitempty"`
	Error  *Problem `json:"error,omitempty"` // it did not take it
}

// Spawn asks for a daemon.
type Spawn struct {
	Kind     string `json:"kind"`
	Name     string `json:"name,omitempty"`
	Identity []byte `json:"identity,omitempty"` // the seed, 32 bytes; absent: drawn at random
	Config   []byte `json:"config,omitempty"`

	Limits map[string]int64 `json:"limits,omitempty"` // of its own: bytes, counts, nanoseconds

	Place *Place `json:"place,omitempty"` // where; absent: on the node that is asked

	Standbys int    `json:"standbys,omitempty"` // on how many other nodes of the cluster it is kept
	Ack      string `json:"ack,omitempty"`      // when one of them holds an event: memory, which is the default, or disk

	Subscribe []Subscribe `json:"subscribe,omitempty"` // if one of these fails, there is no daemon

	MayPublish []MayPublish `json:"may_publish,omitempty"` // on which channels; none: on no channel
	MaySend    []string     `json:"may_send,omitempty"`    // to which daemons: names, origins or entity ids, whole, or * for all; a name means the daemon that has it now
}

// Daemon is a daemon and where it stands.
type Daemon struct {
	Name            string    `json:"name"`
	Origin          string    `json:"origin"`
	EntityID        string    `json:"entity_id"`
	Kind            string    `json:"kind"`
	NodeID          string    `json:"node_id"`
	Epoch           uint64    `json:"epoch"`
	Sequence        uint64    `json:"sequence"`
	State           string    `json:"state"`
	Reason          string    `json:"reason,omitempty"`
	Loss            *Loss     `json:"loss,omitempty"`     // of outputs that were acknowledged
	Unstored        string    `json:"unstored,omitempty"` // why its state could not be stored last
	EventsProcessed uint64    `json:"events_processed"`
	EventsEmitted   uint64    `json:"events_emitted"`
	Errors          uint64    `json:"errors"` // events that it failed on; after a crash or a failover those that its history keeps
	Module          string    `json:"module"`
	MemoryBytes     int64     `json:"memory_bytes"`
	Head            string    `json:"head"`
	Spawned         time.Time `json:"spawned"` // when it was made, wherever that was

	Limits   map[string]int64 `json:"limits,omitempty"`   // that hold: bytes, counts, nanoseconds
	Receipts []Receipt        `json:"receipts,omitempty"` // of its last moves, where one daemon is asked for

	Subscriptions []Subscription `json:"subscriptions,omitempty"` // in the answer about one daemon
	Fork          *ForkOf        `json:"fork,omitempty"`          // how it began, in the answer about one daemon that is a fork
	Cluster       *Kept          `json:"cluster,omitempty"`       // where its standbys are, on a node of a cluster; in the answer about one daemon
	Used          []Used         `json:"used,omitempty"`          // of its bounds, in the answer about one daemon
	Effects       *Effects       `json:"effects,omitempty"`       // what it may do, and what is on its way; in the answer about one daemon
}

// Kept is how a daemon of a cluster is kept elsewhere.
type Kept struct {
	Standbys int      `json:"standbys"` // that it is to have
	InSync   []string `json:"in_sync"`  // nodes that hold all that was acknowledged
	Ack      string   `json:"ack"`      // memory or disk
}

// Loss says what of a daemon's acknowledged outputs is gone, as far as is known.
type Loss struct {
	From  uint64    `json:"from_sequence"`
	To    uint64    `json:"to_sequence,omitempty"` // absent: it is not known how far they went
	Epoch uint64    `json:"epoch"`
	Why   string    `json:"why"`
	Time  time.Time `json:"time"`
}

func lossOf(l *daemon.Loss) *Loss {
	if l == nil {
		return nil
	}
	return &Loss{From: l.From, To: l.To, Epoch: l.Epoch, Why: l.Why, Time: l.Time.UTC()}
}

func daemonOf(i daemon.Info) Daemon {
	return Daemon{Name: i.Name, Origin: i.Entity.Origin().String(), EntityID: i.Entity.String(), Kind: i.Kind, NodeID: i.Node.String(),
		Epoch: i.Epoch, Sequence: i.Sequence, State: i.State, Reason: i.Reason, Loss: lossOf(i.Loss), Unstored: i.Unstored, EventsProcessed: i.EventsProcessed,
		EventsEmitted: i.EventsEmitted, Errors: i.Errors, Module: i.Module, MemoryBytes: i.MemoryBytes, Head: i.Head.String(), Spawned: i.Spawned, Limits: i.Limits.Map()}
}

// Output is one output of a daemon.
type Output struct {
	Origin   string  `json:"origin"`
	Epoch    uint64  `json:"epoch"`
	Sequence uint64  `json:"sequence"`
	Text     *string `json:"text,omitempty"` // when the payload is UTF-8
	Payload  string  `json:"payload"`        // base64

	Duplicate bool `json:"duplicate,omitempty"` // of an event that had been applied before
}

// OutputOf makes an Output of host's.
func OutputOf(o chain.Output) Output {
	out := Output{Origin: o.Link.Origin.Origin().String(), Epoch: o.Link.Epoch, Sequence: o.Link.Sequence, Payload: base64.StdEncoding.EncodeToString(o.Payload)}
	if utf8.Valid(o.Payload) {
		text := string(o.Payload)
		out.Text = &text
	}
	return out
}

// Sent is what became of one event.
type Sent struct {
	Outputs   []Output `json:"outputs"`
	Duplicate bool     `json:"duplicate,omitempty"` // it had been applied before: these are the outputs recorded then

	Error   *Problem `json:"error,omitempty"`   // in a stream of events only
	Stopped bool     `json:"stopped,omitempty"` // with Error: nothing after this event is taken
}

// LogLine is one line of a daemon's log.
type LogLine struct {
	Time  time.Time `json:"time"`
	Level string    `json:"level"`
	Text  string    `json:"text"`
}

// Migrate asks for a migration.
type Migrate struct {
	To           string `json:"to"`                      // node id or name, whole
	OmitIdentity bool   `json:"omit_identity,omitempty"` // the target has the key, or the migration fails
	PublicOnly   bool   `json:"public_only,omitempty"`   // the key stays here: the daemon signs nothing on the target
	Detach       bool   `json:"detach,omitempty"`        // answer at once

	DowntimeMS float64 `json:"downtime_ms,omitempty"`           // for which senders may wait; 0: 50
	MaxRounds  int     `json:"max_rounds,omitempty"`            // before the pause; 0: 30
	DeadlineMS int64   `json:"deadline_ms,omitempty"`           // after which it is given up; 0: none
	Rate       int64   `json:"rate_bytes_per_second,omitempty"` // that may be sent; 0: any
}

// MigrationStep is one line of the answer to Migrate: a phase that began, or
// the end.
type MigrationStep struct {
	Phase  string           `json:"phase,omitempty"`
	Round  *Round           `json:"round,omitempty"` // that has ended
	Bytes  int64            `json:"bytes,omitempty"` // sent so far
	Done   int64            `json:"done,omitempty"`  // bytes of Whole, before compression
	Whole  int64            `json:"whole,omitempty"`
	Report *MigrationReport `json:"report,omitempty"`
	Error  *Problem         `json:"error,omitempty"`
}

// MigrationReport is how a migration went.
type MigrationReport struct {
	Origin     string      `json:"origin"`
	From       string      `json:"from"`
	To         string      `json:"to"`
	Epoch      uint64      `json:"epoch"`
	Bytes      int64       `json:"bytes"`
	DowntimeMS float64     `json:"downtime_ms"`
	Phases     []PhaseTime `json:"phases"`
	Rounds     []Round     `json:"rounds"`                 // the last is the pause
	Receipt    string      `json:"receipt,omitempty"`      // its digest
	ReceiptRaw []byte      `json:"receipt_cbor,omitempty"` // the receipt

	Unbound []Unbound `json:"unbound,omitempty"` // subscriptions that the target could not bind yet; it goes on trying
}

// Unbound is a subscription that a target could not bind, and why.
type Unbound struct {
	Publisher string `json:"publisher"`
	Channel   string `json:"channel"`
	Code      string `json:"code"` // as of a Problem
	Reason    string `json:"reason"`
}

// Round is one pass of a migration over what the target lacks.
type Round struct {
	Number   int     `json:"number"`
	How      string  `json:"how"` // bulk, replay or pages
	Records  int     `json:"records"`
	Blocks   int     `json:"blocks"`
	Bytes    int64   `json:"bytes"`
	MS       float64 `json:"ms"`
	LeftMS   float64 `json:"left_ms"`             // how long the pause was expected to be, after it
	SlowedMS float64 `json:"slowed_ms,omitempty"` // from one event to the next, at least
}

func roundOf(r migration.Round) Round {
	return Round{Number: r.Number, How: r.How, Records: r.Records, Blocks: r.Blocks, Bytes: r.Bytes, MS: ms(r.Took), LeftMS: ms(r.Left), SlowedMS: ms(r.Slowed)}
}

// PhaseTime is how long a phase took.
type PhaseTime struct {
	Phase string  `json:"phase"`
	MS    float64 `json:"ms"`
}

func reportOf(r host.Report) *MigrationReport {
	out := &MigrationReport{Origin: r.Entity.Origin().String(), From: r.From.String(), To: r.To.String(), Epoch: r.Epoch, Bytes: r.Bytes,
		DowntimeMS: ms(r.Downtime), Phases: []PhaseTime{}, Rounds: []Round{}}
	for _, p := range r.Rounds {
		out.Rounds = append(out.Rounds, roundOf(p))
	}
	if r.Receipt != nil {
		if sum, err := r.Receipt.Digest(); err == nil {
			out.Receipt = sum.String()
			out.ReceiptRaw, _ = r.Receipt.Encode() // what has a digest can be encoded
		}
	}
	for _, p := range r.Phases {
		out.Phases = append(out.Phases, PhaseTime{Phase: p.Phase.String(), MS: ms(p.Took)})
	}
	for _, u := range r.Unbound {
		out.Unbound = append(out.Unbound, Unbound{Publisher: u.Publisher.String(), Channel: u.Channel, Code: ProblemOf(u.Err).Code, Reason: u.Err.Error()})
	}
	return out
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// Snapshot is what a snapshot file says.
type Snapshot struct {
	Name     string    `json:"name"`
	Origin   string    `json:"origin"`
	EntityID string    `json:"entity_id"`
	Kind     string    `json:"kind"`
	Module   string    `json:"module"`
	Epoch    uint64    `json:"epoch"`
	Through  uint64    `json:"through_sequence"`
	Applied  uint64    `json:"events_applied"`
	Head     string    `json:"head"`
	State    int       `json:"state_bytes"`
	Senders  int       `json:"senders"`
	Signed   bool      `json:"signed"`
	Identity bool      `json:"identity_sealed"`
	Created  time.Time `json:"created"`
	Spawned  time.Time `json:"spawned,omitzero"`          // when the daemon was made; absent: the snapshot does not say it
	Previous string    `json:"previous_module,omitempty"` // the module before the last upgrade, to which it can be rolled back
}

// SnapshotOf says what s is.
func SnapshotOf(s *host.Snapshot) Snapshot {
	h := &s.Header
	return Snapshot{Name: h.Name, Origin: h.Entity.Origin().String(), EntityID: h.Entity.String(), Kind: h.Kind, Module: hex.EncodeToString(h.Module),
		Epoch: h.Epoch, Through: h.Through, Applied: h.Applied, Head: h.Head.Hash(h.HeadPayload).String(), State: len(s.State),
		Senders: host.SendersOf(h.Horizon), Signed: s.Verify() == nil, Identity: len(h.Envelope) > 0, Created: s.Created(), Spawned: h.Spawned().UTC(), Previous: hex.EncodeToString(h.Previous())}
}

// Token is a join token.
type Token struct {
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
}
