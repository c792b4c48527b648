package host

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"wasmhost/host/channel"
	"wasmhost/host/effect"
	"wasmhost/host/internal/env"
	"wasmhost/host/store"
	"wasmhost/identity"
	"wasmhost/internal/canon"
)

// ChannelPolicy says who may use a channel and how much of it is kept.
type ChannelPolicy struct {
	_      struct{}            `cbor:",toarray"`
	Roots  []identity.EntityID // whose tokens are good; with any, the channel asks for one
	Gated  bool                // it asks for a token, whether or not there are roots
	Family bool                // the channels beneath it come to be, with this policy, when they are first used
	Limits channel.Limits      // of the log
}

func (p *ChannelPolicy) gated() bool { return p.Gated || len(p.Roots) > 0 }

// Bounds of what a node keeps of channels.
const (
	maxChannels = 4096 // channels of a node
	maxRoots    = 64   // root keys of a channel
)

// ChannelInfo is what a channel is, and where it stands.
type ChannelInfo struct {
	Name        string
	Birth       string // as in a ChannelCursor
	Policy      ChannelPolicy
	Created     time.Time
	First       uint64 // sequence of the oldest event that is kept; Next where none is
	Next        uint64 // that the next event will have
	Events      uint64 // that are kept
	Bytes       int64
	Subscribers []ChannelSubscriber
}

// ChannelSubscriber is a daemon that hears a channel.
type ChannelSubscriber struct {
	Entity  identity.EntityID
	Node    identity.NodeID
	Cursor  uint64 // sequence of the last event that it is known to have applied
	Expires time.Time
}

// hub is the channels that this node publishes.
type hub struct {
	rt       *Runtime
	env      *env.Env
	verifier *identity.TokenVerifier
	throttle channel.Throttle

	mu       sync.Mutex
	channels map[string]*published
	feeds    map[*outFeed]struct{} // of channels and of daemons' outputs
	revoked  map[identity.EntityID]*identity.Revocation
}

// published is one channel.
type published struct {
	hub    *hub
	name   string
	rec    storedChannel
	source identity.EntityID // of its events; changed while the node's channels are closed
	former []formerBirth     // the newest first; as source

	carrying   sync.Mutex // held while a daemon's effects are put into it; before publishing
	publishing sync.Mutex // held while events are put into the log, so that they are written in order

	mu      sync.Mutex
	log     *channel.Log
	durable uint64        // sequence of the newest event that a crash does not take
	stale   bool          // the log has what the store refused
	under   uint64        // the store's generation that the log follows from
	kept    uint64        // sequence of the oldest event that the store has
	removed bool          // it is no more
	changed chan struct{} // closed, and replaced, when durable grows or removed is set

	authors map[identity.EntityID]effect.Mark // the last that daemons published here
	last    *ticket                           // of what was published last
}

// storedChannel is how the store keeps what a channel is.
type storedChannel struct {
	_       struct{} `cbor:",toarray"`
	Policy  ChannelPolicy
	Born    []byte // drawn at random, 16 bytes
	Created int64
}

func newHub(r *Runtime) *hub {
	return &hub{rt: r, env: r.env, verifier: identity.NewTokenVerifier(r.env.Clock, r.tokenSkew), channels: make(map[string]*published),
		feeds: make(map[*outFeed]struct{}), revoked: make(map[identity.EntityID]*identity.Revocation)}
}

// CreateChannel makes a channel of this node. Errors: identity.ErrBadChannel,
// channel.ErrExists, channel.ErrReserved, channel.ErrTooMany.
func (r *Runtime) CreateChannel(_ context.Context, name string, p ChannelPolicy) (ChannelInfo, error) {
	if err := errors.Join(r.ready(), r.room()); err != nil {
		return ChannelInfo{}, err
	}
	if err := identity.ValidChannel(name); err != nil {
		return ChannelInfo{}, err
	}
	if _, ok := channel.IsOutputs(name); ok {
		return ChannelInfo{}, fmt.Errorf("%w: %q", channel.ErrReserved, name)
	}
	if len(p.Roots) > maxRoots {
		return ChannelInfo{}, fmt.Errorf("%w: a channel has at most %d roots, not %d", ErrBadLimit, maxRoots, len(p.Roots))
	}
	if p.Limits.Bytes < 0 {
		return ChannelInfo{}, fmt.Errorf("%w: %d bytes of events", ErrBadLimit, p.Limits.Bytes)
	}
	h := r.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.channels[name]; ok {
		return ChannelInfo{}, fmt.Errorf("%w: %q", channel.ErrExists, name)
	}
	c, err := h.add(name, p)
	if err != nil {
		return ChannelInfo{}, err
	}
	return c.info(), nil
}

// add makes a channel, durably. It needs h.mu.
func (h *hub) add(name string, p ChannelPolicy) (*published, error) {
	if len(h.channels) >= maxChannels {
		return nil, fmt.Errorf("%w: %d", channel.ErrTooMany, maxChannels)
	}
	rec := storedChannel{Policy: p, Born: make([]byte, 16), Created: h.env.Clock().UnixNano()}
	rec.Policy.Limits = p.Limits.Over(channel.DefaultLimits)
	if _, err := rand.Read(rec.Born); err != nil {
		return nil, fmt.Errorf("making channel %q: %w", name, err)
	}
	if s := h.env.Store; s != nil {
		b := &store.Batch{}
		enc, err := canon.Marshal(&rec)
		if err != nil {
			return nil, err
		}
		b.Put(store.Channels, []byte(name), enc)
		if err := s.Commit(b); err != nil {
			return nil, fmt.Errorf("storing channel %q: %w", name, err)
		}
	}
	c := h.open(name, rec)
	h.channels[name] = c
	return c, nil
}

func (h *hub) open(name string, rec storedChannel) *published {
	c := &published{hub: h, name: name, rec: rec, source: channel.SourceOf(h.env.Self, [16]byte(rec.Born), name),
		log: channel.NewLog(rec.Policy.Limits, h.env.Store != nil, 1), kept: 1, changed: make(chan struct{})}
	if h.env.Store != nil {
		c.under = h.env.Store.Generation()
	}
	return c
}

// find returns the channel, which a family may bring forth.
func (h *hub) find(name string) (*published, error) {
	if err := errors.Join(identity.ValidChannel(name), h.rt.channelsOpen()); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if c, ok := h.channels[name]; ok {
		return c, nil
	}
	for above := name; ; {
		i := strings.LastIndexByte(above, '/')
		if i < 0 {
			return nil, fmt.Errorf("%w: %q, on node %s", channel.ErrNoChannel, name, h.env.Self)
		}
		above = above[:i]
		if f, ok := h.channels[above]; ok && f.rec.Policy.Family {
			p := f.rec.Policy
			p.Family = false
			return h.add(name, p)
		}
	}
}

// RemoveChannel forgets a channel and its events. Whoever subscribes is told
// that there is no such channel. channel.ErrNoChannel.
func (r *Runtime) RemoveChannel(_ context.Context, name string) error {
	if err := r.ready(); err != nil {
		return err
	}
	h := r.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	c, ok := h.channels[name]
	if !ok {
		return fmt.Errorf("%w: %q, on node %s", channel.ErrNoChannel, name, r.env.Self)
	}
	if r.env.Store != nil {
		b := &store.Batch{}
		b.Delete(store.Channels, []byte(name))
		b.DeleteRange(store.Events, c.key(0), c.key(^uint64(0)))
		b.DeleteUnder(store.Authors, c.rec.Born)
		b.Delete(store.Meta, rebirthKey(c.rec.Born))
		if err := r.env.Store.Commit(b); err != nil {
			return fmt.Errorf("forgetting channel %q: %w", name, err)
		}
	}
	delete(h.channels, name)
	c.mu.Lock()
	c.removed = true
	c.wake()
	c.mu.Unlock()
	return nil
}

// Channels returns this node's channels, by name.
func (r *Runtime) Channels() []ChannelInfo {
	r.hub.mu.Lock()
	all := make([]*published, 0, len(r.hub.channels))
	for _, c := range r.hub.channels {
		all = append(all, c)
	}
	r.hub.mu.Unlock()
	out := make([]ChannelInfo, 0, len(all))
	for _, c := range all {
		out = append(out, c.info())
	}
	slices.SortFunc(out, func(a, b ChannelInfo) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Channel returns one channel with its subscribers, or channel.ErrNoChannel.
func (r *Runtime) Channel(name string) (ChannelInfo, error) {
	r.hub.mu.Lock()
	c, ok := r.hub.channels[name]
	r.hub.mu.Unlock()
	if !ok {
		return ChannelInfo{}, fmt.Errorf("%w: %q, on node %s", channel.ErrNoChannel, name, r.env.Self)
	}
	i := c.info()
	i.Subscribers = r.hub.roster(name)
	return i, nil
}

func (c *published) info() ChannelInfo {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := ChannelInfo{Name: c.name, Birth: birthOf(c.source), Policy: c.rec.Policy, Created: time.Unix(0, c.rec.Created), First: c.log.First(), Next: c.log.Next()}
	i.Events, i.Bytes = c.log.Size()
	return i
}

// key is where the store has the chunk that begins with the event.
func (c *published) key(sequence uint64) []byte {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, 24), c.rec.Born...), sequence)
}

// wake needs c.mu.
func (c *published) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// Publish publishes events on a channel of this node, in order, as its owner
// does who says that they are from. It returns the sequence of the first once
// all are durable. The payloads stay the caller's. Errors:
// channel.ErrNoChannel, channel.ErrPayload, and those of the store.
func (r *Runtime) Publish(ctx context.Context, name string, from identity.EntityID, payloads ...[]byte) (first uint64, err error) {
	p, err := r.SubmitPublish(name, from, payloads...)
	if err != nil {
		return 0, err
	}
	return p.Wait(ctx)
}

// PublishPending is events that are on their way to a channel's log.
type PublishPending struct {
	first  uint64
	ticket *ticket
}

// Ready returns a channel that is closed when Wait no longer blocks.
func (p *PublishPending) Ready() <-chan struct{} {
	if p.ticket == nil {
		return closedChan
	}
	return p.ticket.done
}

// Wait returns the sequence of the first event once all are durable.
func (p *PublishPending) Wait(ctx context.Context) (first uint64, err error) {
	return p.first, p.ticket.wait(ctx)
}

// SubmitPublish is Publish that returns at once: what is submitted one after the
// other is published in that order.
func (r *Runtime) SubmitPublish(name string, from identity.EntityID, payloads ...[]byte) (*PublishPending, error) {
	if err := errors.Join(r.ready(), r.room()); err != nil {
		return nil, err
	}
	if _, ok := channel.IsOutputs(name); ok {
		return nil, fmt.Errorf("%w: %q", channel.ErrReserved, name)
	}
	for _, p := range payloads {
		if len(p) > channel.MaxPayload {
			return nil, fmt.Errorf("%w: %d bytes, at most %d", channel.ErrPayload, len(p), channel.MaxPayload)
		}
	}
	c, err := r.hub.find(name)
	if err != nil {
		return nil, err
	}
	return c.publish(from, payloads, nil)
}

// publish puts events into the log, in order. With a mark they are of a daemon's
// effects, the last of which it names: it is written with them.
func (c *published) publish(from identity.EntityID, payloads [][]byte, mark *effect.Mark) (*PublishPending, error) {
	s := c.hub.env.Store
	c.publishing.Lock()
	defer c.publishing.Unlock()
	c.mu.Lock()
	if c.removed {
		c.mu.Unlock()
		return nil, fmt.Errorf("%w: %q", channel.ErrNoChannel, c.name)
	}
	if c.stale {
		if err := c.reload(); err != nil {
			c.mu.Unlock()
			return nil, err
		}
	}
	now := c.hub.env.Clock().UnixNano()
	first := c.log.Next()
	if mark != nil {
		mark.Time = now
		c.author(*mark)
	}
	chunks := c.log.Append(now, from, payloads)
	c.log.Trim(now)
	last := c.log.Next() - 1
	if s == nil {
		c.durable = last
		c.wake()
		c.mu.Unlock()
		return &PublishPending{first: first}, nil
	}
	b := &store.Batch{Generation: c.under}
	if mark != nil {
		b.Put(store.Authors, append(c.rec.Born[:16:16], mark.Sender[:]...), authorValue(*mark))
	}
	for _, chunk := range chunks {
		b.Put(store.Events, c.key(chunk.First), chunk.Bytes)
	}
	c.letGo(b)
	c.mu.Unlock()
	t := &ticket{done: make(chan struct{})}
	c.last = t
	s.Submit(b, func(err error) {
		c.mu.Lock()
		if err != nil {
			c.stale = true
			t.err = fmt.Errorf("publishing on %q: %w", c.name, err)
		} else if last > c.durable && !c.stale {
			c.durable = last
			c.wake()
		}
		c.mu.Unlock()
		close(t.done)
	})
	return &PublishPending{first: first, ticket: t}, nil
}

// letGo removes from the store what the log has dropped, once that is a
// sixteenth of what it keeps. No two removals overlap: many that begin alike
// would cost the engine the square of their number. It reports whether b removes
// any. It needs c.mu.
func (c *published) letGo(b *store.Batch) bool {
	first := c.log.First()
	if first <= c.kept || first-c.kept < (c.log.Next()-first)/16 {
		return false
	}
	b.DeleteRange(store.Events, c.key(c.kept), c.key(first))
	c.kept = first
	return true
}

// reload reads the log from the store. It needs c.mu.
func (c *published) reload() error {
	under := c.hub.env.Store.Generation()
	log := channel.NewLog(c.rec.Policy.Limits, true, 1)
	err := c.hub.env.Store.ScanRange(store.Events, c.key(0), c.key(^uint64(0)), func(k, v []byte) error {
		if len(k) != 24 {
			return fmt.Errorf("%w: channel %q has a chunk under %x", store.ErrCorrupt, c.name, k)
		}
		first := binary.BigEndian.Uint64(k[16:])
		n, at, err := channel.Count(v)
		if err == nil && (n == 0 || first == 0 || log.Next() != first && log.Next() != 1) {
			err = fmt.Errorf("%d of them where %d is next", n, log.Next())
		}
		if err != nil {
			return fmt.Errorf("%w: channel %q, events from %d: %w", store.ErrCorrupt, c.name, first, err)
		}
		log.Add(channel.Chunk{First: first, Count: n, Time: at, Size: len(v), Bytes: slices.Clone(v)})
		return nil
	})
	if err != nil {
		return err
	}
	if err := c.readAuthors(); err != nil {
		return err
	}
	c.log, c.stale, c.under = log, false, under
	c.durable = log.Next() - 1
	c.kept = log.First()
	log.Trim(c.hub.env.Clock().UnixNano())
	return nil
}

// recover brings back channels and revocations.
func (h *hub) recover() error {
	err := h.env.Store.Scan(store.Channels, func(k, v []byte) error {
		var rec storedChannel
		err := canon.Unmarshal(v, &rec)
		if err == nil && len(rec.Born) != 16 {
			err = errors.New("its birth is not 16 bytes")
		}
		if err != nil || identity.ValidChannel(string(k)) != nil {
			return fmt.Errorf("%w: channel %q: %w", store.ErrCorrupt, k, err)
		}
		c := h.open(string(k), rec)
		if err := c.recoverRebirth(); err != nil {
			return err
		}
		h.mu.Lock()
		h.channels[c.name] = c
		h.mu.Unlock()
		return nil
	})
	if err != nil {
		return err
	}
	for _, c := range h.channels {
		c.mu.Lock()
		err := c.reload()
		c.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return h.recoverRevocations()
}

// trim drops what is too old, of channels that nobody publishes on.
func (h *hub) trim() {
	h.mu.Lock()
	all := make([]*published, 0, len(h.channels))
	for _, c := range h.channels {
		all = append(all, c)
	}
	h.mu.Unlock()
	now := h.env.Clock().UnixNano()
	for _, c := range all {
		c.publishing.Lock()
		c.mu.Lock()
		b := &store.Batch{Generation: c.under}
		remove := false
		if !c.stale && !c.removed {
			c.log.Trim(now)
			remove = h.env.Store != nil && c.letGo(b)
		}
		c.mu.Unlock()
		if remove {
			h.env.Store.Submit(b, func(err error) {
				if err != nil {
					c.mu.Lock()
					c.stale = true
					c.mu.Unlock()
					h.env.Logger.Warn("trimming a channel's log", "channel", c.name, "error", err)
				}
			})
		}
		c.publishing.Unlock()
	}
}

// read returns the chunk that holds the event, with its bytes. Where the event
// is not there yet, it returns what is closed when that may have changed; where
// it was dropped, lost is the sequence before the oldest that is kept.
func (c *published) read(sequence uint64) (chunk channel.Chunk, lost uint64, wait <-chan struct{}, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.removed:
		return chunk, 0, nil, fmt.Errorf("%w: %q, from node %s (%w)", channel.ErrRemoved, c.name, c.hub.env.Self, channel.ErrNoChannel)
	case sequence > c.durable:
		return chunk, 0, c.changed, nil
	case sequence < c.log.First():
		return chunk, c.log.First() - 1, nil, nil
	}
	chunk, ok := c.log.At(sequence)
	if !ok || chunk.Last() > c.durable { // a part of it is not durable: it becomes so as one
		return chunk, 0, c.changed, nil
	}
	if chunk.Bytes == nil {
		if chunk.Bytes, err = c.hub.env.Store.Get(store.Events, c.key(chunk.First)); err != nil {
			return chunk, 0, nil, err
		}
	}
	return chunk, 0, nil, nil
}

func (c *published) head() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.durable
}
