package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"wasmhost/host/channel"
	"wasmhost/host/mesh"
	"wasmhost/identity"
)

// feedWindow is how many bytes of events a feed sends before the other side has
// said that it has room for more.
const feedWindow = 4 << 20

// feedSource is what a feed reads: a channel's log, or a daemon's outputs. It is
// one feed's.
type feedSource interface {
	id() identity.EntityID // the sender of its events
	head() uint64
	first() uint64
	// read is published.read.
	read(ctx context.Context, sequence uint64) (chunk channel.Chunk, lost uint64, wait <-chan struct{}, err error)
	close()
}

type logSource struct{ c *published }

func (s logSource) id() identity.EntityID { return s.c.source }
func (s logSource) head() uint64          { return s.c.head() }
func (s logSource) close()                {}
func (s logSource) first() uint64 {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.c.log.First()
}

func (s logSource) read(_ context.Context, sequence uint64) (channel.Chunk, uint64, <-chan struct{}, error) {
	return s.c.read(sequence)
}

func (h *hub) source(name string) (feedSource, error) {
	if o, ok := channel.IsOutputs(name); ok {
		return h.rt.outputsSource(o)
	}
	c, err := h.find(name)
	if err != nil {
		return nil, err
	}
	return logSource{c}, nil
}

// outFeed is one channel's events on their way to one node: whatever the number
// of its daemons that hear them, each event is sent once.
type outFeed struct {
	hub  *hub
	from identity.NodeID
	may  mesh.ChannelAccess
	name string
	src  feedSource

	sending sync.Mutex // one goroutine sends at a time
	conn    channel.Conn

	mu      sync.Mutex
	members map[identity.EntityID]*hearer
	next    uint64        // the event that is sent next; 0: nobody was accepted yet
	room    int64         // bytes of events that may still be sent
	stale   bool          // tokens are to be checked again
	poke    chan struct{} // one of these has changed
}

// hearer is a daemon that a feed is for.
type hearer struct {
	permission
	cursor uint64
}

// serveFeed serves one feed until its stream ends.
func (h *hub) serveFeed(ctx context.Context, from identity.NodeID, may mesh.ChannelAccess, conn channel.Conn, m *channel.Open) error {
	src, err := h.source(m.Channel)
	if err != nil {
		return err
	}
	defer src.close()
	f := &outFeed{hub: h, from: from, may: may, name: m.Channel, src: src, conn: conn, members: make(map[identity.EntityID]*hearer),
		room: feedWindow, poke: make(chan struct{}, 1)}
	h.mu.Lock()
	h.feeds[f] = struct{}{}
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		delete(h.feeds, f)
		h.mu.Unlock()
	}()
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := f.send(ctx)
		if ctx.Err() == nil {
			f.end(err)
			cancel(err)
		}
	}()
	err = f.receive()
	conn.Abort()
	cancel(err)
	<-done
	h.env.Logger.Debug("a feed ended", "channel", m.Channel, "node", from, "error", context.Cause(ctx))
	return nil
}

// end says why nothing more comes, and leaves the other side some time to read
// it.
func (f *outFeed) end(why error) {
	if err := f.tell(lastWord(why)); err != nil {
		f.hub.env.Logger.Debug("ending a feed", "node", f.from, "error", err)
	}
	time.AfterFunc(endPatience, f.conn.Abort)
}

// endPatience is how long who was told that a stream is over has to close it.
const endPatience = 5 * time.Second

func (f *outFeed) tell(m channel.Message) error {
	f.sending.Lock()
	defer f.sending.Unlock()
	return errors.Join(f.conn.Send(m), f.conn.Flush())
}

// receive answers what the subscribing node says.
func (f *outFeed) receive() error {
	for {
		msg, err := f.conn.Recv()
		if err != nil {
			return err
		}
		switch msg := msg.(type) {
		case *channel.Subscribe:
			err = f.subscribe(msg)
		case *channel.Unsubscribe:
			f.mu.Lock()
			delete(f.members, msg.Entity)
			f.mu.Unlock()
			err = f.tell(&channel.Released{Entity: msg.Entity})
		case *channel.Cursors:
			f.mu.Lock()
			for _, c := range msg.List {
				if m := f.members[c.Entity]; m != nil {
					m.cursor = max(m.cursor, c.Sequence)
				}
			}
			f.mu.Unlock()
		case *channel.Window:
			f.mu.Lock()
			f.room = min(f.room+int64(msg.Bytes), feedWindow)
			f.mu.Unlock()
			f.wake()
		default:
			err = fmt.Errorf("%w: a %T on a feed", channel.ErrBadMessage, msg)
		}
		if err != nil {
			return err
		}
	}
}

func (f *outFeed) wake() {
	select {
	case f.poke <- struct{}{}:
	default:
	}
}

// subscribe puts a daemon on the feed, or says why not.
func (f *outFeed) subscribe(m *channel.Subscribe) error {
	p, err := f.admit(m)
	if err != nil {
		return f.tell(channel.Refuse(m.Entity, err)) // where it was accepted before, that holds as long as its token does
	}
	after := m.After
	switch source := f.src.id(); {
	case m.Source.IsZero():
		after = f.src.head()
	case m.Source != source:
		if log, ok := f.src.(logSource); ok {
			if until, ok := log.c.sameUntil(m.Source[:]); ok { // it heard this one, before the node was restored
				after = min(after, until)
				break
			}
		}
		after = f.src.first() - 1 // it heard another channel of this name: all of this one is new to it
	default:
		after = min(after, f.src.head())
	}
	reply := &channel.Accepted{Entity: m.Entity, Source: f.src.id(), After: after}
	if p.chain != nil {
		reply.Expires = p.expires.Unix()
	}
	f.hub.supersede(f, m.Entity, p.epoch)
	f.mu.Lock()
	_, known := f.members[m.Entity]
	f.members[m.Entity] = &hearer{permission: *p, cursor: after}
	if f.next == 0 || len(f.members) == 1 && f.members[m.Entity] != nil && !known {
		f.next = after + 1
	}
	f.stale = true
	reply.Next = f.next
	f.mu.Unlock()
	f.wake()
	return f.tell(reply)
}

func (f *outFeed) admit(m *channel.Subscribe) (*permission, error) {
	h := f.hub
	if err := h.attempt(f.from); err != nil {
		return nil, err
	}
	f.mu.Lock()
	_, known := f.members[m.Entity]
	full := !known && len(f.members) >= maxHearers
	f.mu.Unlock()
	if full {
		return nil, fmt.Errorf("%w: %d daemons of node %s", channel.ErrTooMany, maxHearers, f.from)
	}
	policy, err := h.policy(f.name)
	if err != nil {
		return nil, err
	}
	may := f.may
	if _, ok := channel.IsOutputs(f.name); ok && len(m.Token) == 0 && may&mesh.AccessOutputs != 0 {
		policy, may = &ChannelPolicy{}, mesh.AccessChannels
	}
	p, err := h.permit(policy, f.name, f.from, may, m.Entity, m.Token, m.Residence, identity.ScopeSubscribe)
	if err == nil && p.epoch > 0 {
		err = h.notSuperseded(f, m.Entity, p.epoch)
	}
	h.throttle.Note(f.from, err != nil, h.env.Clock())
	return p, err
}

// maxHearers bounds the daemons that one feed is for.
const maxHearers = 1 << 16

// notSuperseded returns channel.ErrSuperseded where a later owner of the daemon
// hears the channel.
func (h *hub) notSuperseded(f *outFeed, entity identity.EntityID, epoch uint64) error {
	for _, o := range h.feedsOf(f.name) {
		if o == f {
			continue
		}
		o.mu.Lock()
		m := o.members[entity]
		later := m != nil && m.epoch > epoch
		o.mu.Unlock()
		if later {
			return fmt.Errorf("%w: %s, on node %s", channel.ErrSuperseded, entity.Origin(), o.from)
		}
	}
	return nil
}

// supersede takes the daemon off the feeds of its earlier owners.
func (h *hub) supersede(f *outFeed, entity identity.EntityID, epoch uint64) {
	if epoch == 0 {
		return
	}
	for _, o := range h.feedsOf(f.name) {
		o.mu.Lock()
		m := o.members[entity]
		earlier := o != f && m != nil && m.epoch < epoch
		if earlier {
			delete(o.members, entity)
		}
		o.mu.Unlock()
		if earlier {
			go o.dismiss(entity) // its stream may be stuck
		}
	}
}

// dismiss tells a node that its daemon has moved on, unless it has come back.
func (f *outFeed) dismiss(entity identity.EntityID) {
	f.sending.Lock()
	defer f.sending.Unlock()
	f.mu.Lock()
	back := f.members[entity] != nil
	f.mu.Unlock()
	if back {
		return
	}
	if err := errors.Join(f.conn.Send(channel.Refuse(entity, channel.ErrSuperseded)), f.conn.Flush()); err != nil {
		f.hub.env.Logger.Debug("telling a node that its daemon moved on", "node", f.from, "error", err)
	}
}

func (h *hub) feedsOf(name string) []*outFeed {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []*outFeed
	for f := range h.feeds {
		if f.name == name {
			out = append(out, f)
		}
	}
	return out
}

// hears reports whether the node has the daemon on a feed of the channel.
func (h *hub) hears(name string, node identity.NodeID, entity identity.EntityID) bool {
	for _, f := range h.feedsOf(name) {
		f.mu.Lock()
		_, ok := f.members[entity]
		f.mu.Unlock()
		if ok && f.from == node {
			return true
		}
	}
	return false
}

// roster returns who hears the channel.
func (h *hub) roster(name string) []ChannelSubscriber {
	out := []ChannelSubscriber{}
	for _, f := range h.feedsOf(name) {
		f.mu.Lock()
		for id, m := range f.members {
			out = append(out, ChannelSubscriber{Entity: id, Node: f.from, Cursor: m.cursor, Expires: m.expires})
		}
		f.mu.Unlock()
	}
	slices.SortFunc(out, func(a, b ChannelSubscriber) int {
		return cmp.Or(a.Entity.Compare(b.Entity), cmp.Compare(a.Node, b.Node))
	})
	return out
}

// recheck takes off all feeds whoever's token was revoked.
func (h *hub) recheck() {
	h.mu.Lock()
	all := make([]*outFeed, 0, len(h.feeds))
	for f := range h.feeds {
		all = append(all, f)
	}
	h.mu.Unlock()
	for _, f := range all {
		f.mu.Lock()
		f.stale = true
		f.mu.Unlock()
		f.wake()
	}
}

// expel takes off the feed whose token holds no longer, and returns when the
// next one expires; zero: none does.
func (f *outFeed) expel() (next time.Time, err error) {
	var out []channel.Message
	f.mu.Lock()
	for id, m := range f.members {
		if m.chain == nil {
			continue
		}
		if err := f.hub.verifier.Recheck(m.chain, m.use); err != nil {
			delete(f.members, id)
			out = append(out, channel.Refuse(id, err))
		} else if next.IsZero() || m.expires.Before(next) {
			next = m.expires
		}
	}
	f.mu.Unlock()
	for _, m := range out {
		if err := f.tell(m); err != nil {
			return next, err
		}
	}
	return next, nil
}

// send sends events while there is anybody to hear them.
func (f *outFeed) send(ctx context.Context) error {
	var expires time.Time
	for {
		f.mu.Lock()
		stale := f.stale
		f.stale = false
		f.mu.Unlock()
		if stale || !expires.IsZero() && !f.hub.env.Clock().Before(expires) {
			var err error
			if expires, err = f.expel(); err != nil {
				return err
			}
		}
		f.mu.Lock()
		next, idle := f.next, f.next == 0 || len(f.members) == 0 || f.room <= 0
		f.mu.Unlock()
		var wait <-chan struct{}
		if !idle {
			var err error
			if wait, err = f.sendNext(ctx, next); err != nil {
				return err
			}
			if wait == nil {
				continue
			}
		}
		if err := f.flush(); err != nil {
			return err
		}
		if err := f.sleep(ctx, wait, expires); err != nil {
			return err
		}
	}
}

// sleep waits until there may be something to do, or a token expires.
func (f *outFeed) sleep(ctx context.Context, wait <-chan struct{}, expires time.Time) error {
	var alarm <-chan time.Time
	if !expires.IsZero() {
		timer := time.NewTimer(max(expires.Sub(f.hub.env.Clock()), time.Millisecond))
		defer timer.Stop()
		alarm = timer.C
	}
	select {
	case <-wait:
	case <-alarm:
	case <-f.poke:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

func (f *outFeed) flush() error {
	f.sending.Lock()
	defer f.sending.Unlock()
	return f.conn.Flush()
}

// sendNext sends the event, and those in its chunk, or returns what to wait for.
func (f *outFeed) sendNext(ctx context.Context, next uint64) (<-chan struct{}, error) {
	chunk, lost, wait, err := f.src.read(ctx, next)
	if err != nil || wait != nil {
		return wait, err
	}
	var m channel.Message = &channel.Events{First: chunk.First, Head: f.src.head(), Bytes: chunk.Bytes}
	after := chunk.Last() + 1
	if lost > 0 {
		m, after = &channel.Gap{From: next, To: lost}, lost+1
	}
	f.sending.Lock()
	err = f.conn.Send(m)
	f.sending.Unlock()
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.next == next { // else a new hearer has set it back
		f.next = after
	}
	f.room -= int64(len(chunk.Bytes))
	return nil, nil
}
