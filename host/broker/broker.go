package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/fair"
	"wasmhost.example/host/internal/env"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// Bounds of what a node keeps of channels.
const (
	maxChannels = 4096 // channels of a node
	maxRoots    = 64   // root keys of a channel
)

// Config is what a Broker works with. Functions and interfaces are called concurrently,
// and with none of the broker's locks held.
type Config struct {
	Env *env.Env // without a store the channels are in memory alone

	// TokenSkew is by how much the clocks of those who issue tokens may differ.
	TokenSkew time.Duration

	// SenderMemory is for how long at least a channel remembers the last effect of a
	// daemon that published on it.
	SenderMemory time.Duration

	Ready func() error // nil, or why the node takes no requests
	Open  func() error // nil, or why the node's own channels are closed

	// Flow is the share of the node's work of the daemon that publishes.
	Flow func(from identity.EntityID) *fair.Flow

	// LastWord is how err is told to the peer whose stream it ends.
	LastWord func(err error) channel.Message

	Peers   Peers
	Outputs Outputs
}

// Peers are the other nodes, which learn of revocations.
type Peers interface {
	// PeerIDs returns the peers that there are.
	PeerIDs() []identity.NodeID

	// OpenChannel opens a stream to a peer. The caller aborts it.
	OpenChannel(ctx context.Context, peer identity.NodeID) (channel.Conn, error)
}

// Outputs are the outputs of this node's daemons, each of which is a channel as well.
type Outputs interface {
	// ByOrigin returns the daemon of that origin. channel.ErrNoChannel where there is
	// none, *MovedError where it is elsewhere.
	ByOrigin(o identity.OriginHash) (identity.EntityID, error)

	// Head returns the sequence of the daemon's newest output, without waiting for the
	// event that it processes; or why the daemon is not here.
	Head(id identity.EntityID) (sequence uint64, err error)

	// TailAfter returns the outputs after that of the sequence, each once it is
	// durable; where no history is kept, those from now on. The channel is closed when
	// ctx ends, when its reader lags, or when the daemon leaves.
	TailAfter(ctx context.Context, id identity.EntityID, sequence uint64) (<-chan chain.Output, error)

	// Reaches returns nil where the daemon has made the output of that sequence;
	// ErrCursorGone. It waits for the event that the daemon processes.
	Reaches(ctx context.Context, id identity.EntityID, sequence uint64) error
}

// Broker has the channels that this node publishes: their logs, who may use them, and
// the streams by which other nodes, and this one, hear them. It is safe for concurrent
// use.
type Broker struct {
	cfg      Config
	env      *env.Env
	verifier *identity.TokenVerifier
	throttle channel.Throttle

	mu       sync.Mutex // before Channel.mu
	channels map[string]*Channel
	streams  map[*Stream]struct{} // of channels and of daemons' outputs
	revoked  map[identity.EntityID]*identity.Revocation
}

// New returns a broker without channels.
func New(c Config) *Broker {
	return &Broker{cfg: c, env: c.Env, verifier: identity.NewTokenVerifier(c.Env.Clock, c.TokenSkew), channels: make(map[string]*Channel),
		streams: make(map[*Stream]struct{}), revoked: make(map[identity.EntityID]*identity.Revocation)}
}

// Create makes a channel of this node. Errors: identity.ErrBadChannel,
// channel.ErrExists, channel.ErrReserved, channel.ErrTooMany.
func (b *Broker) Create(_ context.Context, name string, p Policy) (Info, error) {
	if err := b.mayWrite(); err != nil {
		return Info{}, err
	}
	if err := identity.ValidChannel(name); err != nil {
		return Info{}, err
	}
	if _, ok := channel.IsOutputs(name); ok {
		return Info{}, fmt.Errorf("%w: %q", channel.ErrReserved, name)
	}
	if len(p.Roots) > maxRoots {
		return Info{}, fmt.Errorf("%w: a channel has at most %d roots, not %d", daemon.ErrBadLimit, maxRoots, len(p.Roots))
	}
	if p.Limits.Bytes < 0 {
		return Info{}, fmt.Errorf("%w: %d bytes of events", daemon.ErrBadLimit, p.Limits.Bytes)
	}

	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.channels[name]; ok {
		return Info{}, fmt.Errorf("%w: %q", channel.ErrExists, name)
	}

	c, err := b.add(name, p)
	if err != nil {
		return Info{}, err
	}
	return c.info(), nil
}

// mayWrite returns nil, or why nothing can be written now.
func (b *Broker) mayWrite() error {
	if b.env.Store == nil {
		return b.cfg.Ready()
	}
	return errors.Join(b.cfg.Ready(), b.env.Store.Err())
}

// add makes a channel, durably. It needs b.mu.
func (b *Broker) add(name string, p Policy) (*Channel, error) {
	if len(b.channels) >= maxChannels {
		return nil, fmt.Errorf("%w: %d", channel.ErrTooMany, maxChannels)
	}

	rec := storedChannel{Policy: p, Born: make([]byte, 16), Created: b.env.Clock().UnixNano()}
	rec.Policy.Limits = p.Limits.Over(channel.DefaultLimits)
	if _, err := rand.Read(rec.Born); err != nil {
		return nil, fmt.Errorf("making channel %q: %w", name, err)
	}

	if s := b.env.Store; s != nil {
		batch := &store.Batch{}
		enc, err := canon.Marshal(&rec)
		if err != nil {
			return nil, err
		}

		batch.Put(store.Channels, []byte(name), enc)
		if err := s.Commit(batch); err != nil {
			return nil, fmt.Errorf("storing channel %q: %w", name, err)
		}
	}

	c := newChannel(b, name, rec)
	b.channels[name] = c
	return c, nil
}

// find returns the channel, which a family may bring forth.
func (b *Broker) find(name string) (*Channel, error) {
	if err := errors.Join(identity.ValidChannel(name), b.cfg.Open()); err != nil {
		return nil, err
	}

	b.mu.Lock()
	defer b.mu.Unlock()
	if c, ok := b.channels[name]; ok {
		return c, nil
	}

	for above := name; ; {
		i := strings.LastIndexByte(above, '/')
		if i < 0 {
			return nil, b.unknown(name)
		}

		above = above[:i]
		if f, ok := b.channels[above]; ok && f.rec.Policy.Family {
			p := f.rec.Policy
			p.Family = false
			return b.add(name, p)
		}
	}
}

func (b *Broker) unknown(name string) error {
	return fmt.Errorf("%w: %q, on node %s", channel.ErrNoChannel, name, b.env.Self)
}

// Remove forgets a channel and its events. Whoever subscribes is told that there is no
// such channel. channel.ErrNoChannel.
func (b *Broker) Remove(_ context.Context, name string) error {
	if err := b.cfg.Ready(); err != nil {
		return err
	}

	b.mu.Lock()
	defer b.mu.Unlock()
	c, ok := b.channels[name]
	if !ok {
		return b.unknown(name)
	}

	if b.env.Store != nil {
		batch := &store.Batch{}
		batch.Delete(store.Channels, []byte(name))
		batch.DeleteRange(store.Events, c.key(0), c.key(^uint64(0)))
		batch.DeleteUnder(store.Authors, c.rec.Born)
		batch.Delete(store.Meta, rebirthKey(c.rec.Born))
		if err := b.env.Store.Commit(batch); err != nil {
			return fmt.Errorf("forgetting channel %q: %w", name, err)
		}
	}

	delete(b.channels, name)
	c.mu.Lock()
	c.removed = true
	c.wake()
	c.mu.Unlock()
	return nil
}

// List returns this node's channels, by name, without their subscribers.
func (b *Broker) List() []Info {
	all := b.all()
	out := make([]Info, 0, len(all))
	for _, c := range all {
		out = append(out, c.info())
	}
	slices.SortFunc(out, func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (b *Broker) all() []*Channel {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]*Channel, 0, len(b.channels))
	for _, c := range b.channels {
		all = append(all, c)
	}
	return all
}

// Info returns one channel with its subscribers, or channel.ErrNoChannel.
func (b *Broker) Info(name string) (Info, error) {
	b.mu.Lock()
	c, ok := b.channels[name]
	b.mu.Unlock()
	if !ok {
		return Info{}, b.unknown(name)
	}

	i := c.info()
	i.Subscribers = b.subscribers(name)
	return i, nil
}

// Recover brings back channels and revocations from the store, before Start.
func (b *Broker) Recover() error {
	err := b.env.Store.Scan(store.Channels, func(k, v []byte) error {
		var rec storedChannel
		err := canon.Unmarshal(v, &rec)
		if err == nil && len(rec.Born) != 16 {
			err = errors.New("its birth is not 16 bytes")
		}

		if err != nil || identity.ValidChannel(string(k)) != nil {
			return fmt.Errorf("%w: channel %q: %w", store.ErrCorrupt, k, err)
		}

		c := newChannel(b, string(k), rec)
		if err := c.recoverRebirth(); err != nil {
			return err
		}

		b.mu.Lock()
		b.channels[c.name] = c
		b.mu.Unlock()
		return nil
	})
	if err != nil {
		return err
	}

	for _, c := range b.channels {
		c.mu.Lock()
		err := c.reload()
		c.mu.Unlock()
		if err != nil {
			return err
		}
	}

	return b.recoverRevocations()
}

// Start begins what goes on as long as the node serves: old events are dropped, and
// revocations exchanged.
func (b *Broker) Start() {
	b.env.Background(func(ctx context.Context) {
		b.spread()
		ticker := time.NewTicker(exchangeEvery)
		defer ticker.Stop()

		for {
			select {
			case <-ticker.C:
				b.trim()
				if len(b.verifier.Revokers()) > 0 {
					b.spread() // to those who were away
				}
			case <-ctx.Done():
				return
			}
		}
	})
}

// trim drops what is too old, of channels that nobody publishes on.
func (b *Broker) trim() {
	all := b.all()
	now := b.env.Clock().UnixNano()
	for _, c := range all {
		c.trim(now)
	}
}
