package outbox

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"wasmhost.example/host/backoff"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/effect"
	"wasmhost.example/host/internal/env"
	"wasmhost.example/identity"
)

// ErrGone says that the daemon is not on this node, or takes no events for now: who
// brings it back calls Sender.Start. The methods of Daemons wrap it.
var ErrGone = errors.New("the daemon is not here, or takes no events")

// Daemons is what a Sender asks of this node's daemons. Its methods are called
// concurrently for different daemons and places.
type Daemons interface {
	// Due returns the daemon's effects for the place in order, at most so many and of so
	// many bytes but one at least, once they are durable. Where there are none, or the daemon is gone, it calls
	// none with the daemon's lock held, so that nothing is added meanwhile, and returns
	// none. It waits until the daemon's rate allows them. ErrGone; another error
	// passes.
	Due(ctx context.Context, id identity.EntityID, p effect.Place, most, bytes int, none func()) ([]channel.Carriage, error)

	// Acknowledge records that the effects need not be sent again. With lost they were
	// given up, and it says why.
	Acknowledge(ctx context.Context, id identity.EntityID, p effect.Place, list []channel.Carriage, lost string) error

	// PassedOver counts n of the effects as lost at the receiver.
	PassedOver(id identity.EntityID, p effect.Place, n int, why error)

	// Credentials returns what the daemon shows the place. had is what it returned last:
	// the residence is the same under the same epoch.
	Credentials(ctx context.Context, id identity.EntityID, p effect.Place, had Credentials) (Credentials, error)
}

// Credentials are a daemon's word that it is on this node, and its token for a channel.
type Credentials struct {
	Residence []byte // nil: the daemon's key is not here
	Epoch     uint64 // under which it is
	Token     []byte // nil: none is needed, or none was granted
}

// Locator finds the daemons that effects go to.
type Locator interface {
	// Believed returns where the daemon is by what this node knows itself: here, or where
	// it moved to from here. false: it knows nothing.
	Believed(id identity.EntityID) (identity.NodeID, bool)

	// Prove returns the node that has the daemon, and under which epoch, where at is said
	// to have it by the node by; 0: by none. Errors: daemon.ErrUnproven, mesh.ErrUnreachable,
	// mesh.ErrUnknownNode, channel.ErrNoReceiver where it is not there, *daemon.MovedError where
	// it left.
	Prove(ctx context.Context, id identity.EntityID, at, by identity.NodeID) (node identity.NodeID, epoch uint64, err error)
}

// Peers are the nodes that effects go to, this one included.
type Peers interface {
	PeerIDs() []identity.NodeID

	// OpenChannel opens a stream to a node. The caller aborts it.
	OpenChannel(ctx context.Context, node identity.NodeID) (channel.Conn, error)
}

// Sender delivers what this node's daemons sent and published. For each daemon and each
// place there is one delivery, as long as there is something to deliver: a place that
// cannot be reached holds up no other, and what goes to one stays in order. It is safe for
// concurrent use.
type Sender struct {
	env     *env.Env
	daemons Daemons
	locator Locator
	peers   Peers

	mu    sync.Mutex // after the daemons' locks
	all   map[route]*delivery
	found map[identity.EntityID]identity.NodeID // where daemons were found last
}

type route struct {
	daemon identity.EntityID
	place  effect.Place
}

// Bounds of deliveries.
const (
	unknownTimeout = time.Minute // after which effects are given up whose place every node that answers denies to have
	carryBytes     = 1 << 20     // of effects in one message
	answerWait     = 30 * time.Second
	mostFound      = 1 << 16 // destinations whose place is remembered
	maxRedirects   = 8       // in a row
)

// deliveryRetry spaces the tries to deliver what a daemon sent.
var deliveryRetry = backoff.Policy{First: 50 * time.Millisecond, Most: 5 * time.Second}

// NewSender returns a sender that has nothing to deliver.
func NewSender(e *env.Env, d Daemons, l Locator, p Peers) *Sender {
	return &Sender{env: e, daemons: d, locator: l, peers: p, all: make(map[route]*delivery), found: make(map[identity.EntityID]identity.NodeID)}
}

// Start sees to it that the daemon's pending effects and its replies are delivered. The
// caller has the daemon's lock.
func (s *Sender) Start(id identity.EntityID, state *effect.State) {
	pending, replies := state.Pending(), state.Replies()
	if len(pending)+len(replies) == 0 {
		return
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range pending {
		if !s.start(route{id, pending[i].Place}) {
			return
		}
	}

	for i := range replies {
		if !s.start(route{id, effect.Place{To: replies[i].To, Replies: true}}) {
			return
		}
	}
}

// start begins a delivery on the route where there is none; false: the node ends. It
// needs s.mu.
func (s *Sender) start(to route) bool {
	if s.all[to] != nil {
		return true
	}

	d := &delivery{sender: s, route: to}
	if !s.env.Background(d.run) {
		return false
	}

	s.all[to] = d
	return true
}

// Reason says why the daemon's effects have not arrived at the place; empty: nothing is
// known against it.
func (s *Sender) Reason(id identity.EntityID, p effect.Place) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.all[route{id, p}]; d != nil && d.reason != nil {
		return d.reason.Error()
	}
	return ""
}

// Stuck reports whether all that the daemon has to deliver goes to receivers that have no
// room for it.
func (s *Sender) Stuck(id identity.EntityID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	stuck := false

	for to, d := range s.all {
		if to.daemon != id {
			continue
		}
		if stuck = true; !errors.Is(d.reason, channel.ErrNoRoom) {
			return false
		}
	}

	return stuck
}

// Blocked reports whether effects of the daemon wait for another reason than a receiver
// that takes no more: the reason passes by itself.
func (s *Sender) Blocked(id identity.EntityID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for to, d := range s.all {
		if to.daemon == id && d.reason != nil && !errors.Is(d.reason, channel.ErrNoRoom) && !errors.Is(d.reason, channel.ErrBusy) && !errors.Is(d.reason, channel.ErrPassedOver) {
			return true
		}
	}

	return false
}

// delivery is one route's. Its fields are its goroutine's, but for reason.
type delivery struct {
	sender *Sender
	route
	conn    channel.Conn // to at; nil: none is open
	at      identity.NodeID
	unknown time.Time // since when every node that answers denies to have the place; zero: none does
	reason  error     // why the last try failed; guarded by sender.mu
	shown   Credentials
}

// run delivers effects until there are none.
func (d *delivery) run(ctx context.Context) {
	defer d.hangUp()
	tries := deliveryRetry.Start()
	for ctx.Err() == nil {
		list, ok := d.next(ctx)
		if !ok {
			return
		}

		taken, err := d.deliver(ctx, list)
		if err == nil {
			err = d.acknowledge(ctx, taken, "")
		} else if err = d.givenUp(err); errors.Is(err, errGivenUp) {
			err = d.acknowledge(ctx, list, err.Error())
		}

		d.sender.mu.Lock()
		d.reason = err
		d.sender.mu.Unlock()
		if errors.Is(err, channel.ErrPassedOver) {
			d.sender.daemons.PassedOver(d.daemon, d.place, passedOver(err, len(list)), err)
		}

		if err == nil {
			tries.Reset()
			continue
		}

		d.hangUp()
		if tries.Wait(ctx, nil) != nil {
			break
		}
	}

	d.end()
}

func (d *delivery) hangUp() {
	if d.conn != nil {
		d.conn.Abort()
		d.conn = nil
	}
}

// end makes room for another delivery on the route.
func (d *delivery) end() {
	d.sender.mu.Lock()
	defer d.sender.mu.Unlock()
	if d.sender.all[d.route] == d {
		delete(d.sender.all, d.route)
	}
}

// next returns what is to be delivered now; false where there is nothing, and the
// delivery ends.
func (d *delivery) next(ctx context.Context) ([]channel.Carriage, bool) {
	for tries := deliveryRetry.Start(); ; {
		list, err := d.sender.daemons.Due(ctx, d.daemon, d.place, channel.MaxCarry, carryBytes, d.end)
		switch {
		case err == nil:
			return list, len(list) > 0
		case errors.Is(err, ErrGone) || tries.Wait(ctx, nil) != nil:
			d.sender.env.Logger.Debug("what a daemon sent waits", "daemon", d.daemon.Origin(), "to", d.place, "error", err)
			d.end() // who brings the daemon back starts another
			return nil, false
		}
	}
}

func (d *delivery) acknowledge(ctx context.Context, list []channel.Carriage, lost string) error {
	return d.sender.daemons.Acknowledge(ctx, d.daemon, d.place, list, lost)
}

// errGivenUp says that there is no place to deliver to.
var errGivenUp = errors.New("there is no such place on any node that answers")

// givenUp turns err into errGivenUp where every node has said for long enough that it
// does not have the place.
func (d *delivery) givenUp(err error) error {
	if !errors.Is(err, channel.ErrNoReceiver) && !errors.Is(err, channel.ErrNoChannel) {
		d.unknown = time.Time{}
		return err
	}

	now := d.sender.env.Clock()
	if d.unknown.IsZero() {
		d.unknown = now
	}

	if now.Sub(d.unknown) < unknownTimeout {
		return err
	}

	d.unknown = time.Time{}
	return fmt.Errorf("%w: %w", errGivenUp, err)
}
