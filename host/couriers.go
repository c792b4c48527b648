package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"wasmhost/host/backoff"
	"wasmhost/host/channel"
	"wasmhost/host/effect"
	"wasmhost/host/fair"
	"wasmhost/host/internal/env"
	"wasmhost/host/mesh"
	"wasmhost/identity"
)

// couriers carry out what this node's daemons sent and published. For each daemon
// and each place there is one, as long as there is something to bring: one place
// that cannot be reached holds up no other, and what goes to one stays in order.
type couriers struct {
	rt  *Runtime
	env *env.Env

	mu    sync.Mutex
	all   map[route]*courier
	found map[identity.EntityID]identity.NodeID // where daemons were found last
}

type route struct {
	daemon identity.EntityID
	place  effect.Place
}

// courier is one route's. Its fields are its goroutine's, but for reason.
type courier struct {
	*couriers
	route
	conn   channel.Conn // to at; nil: none is open
	at     identity.NodeID
	lost   time.Time // since when every node that answers says that there is no such place; zero: none has
	reason error     // why the last did not work; guarded by couriers.mu

	word      []byte // the daemon's residence, under wordEpoch
	wordEpoch uint64
}

// Bounds of couriers.
const (
	courierLost    = time.Minute // after which what has no place to go to is given up
	courierBytes   = 1 << 20     // brought together
	courierPatient = 30 * time.Second
	mostFound      = 1 << 16 // destinations whose place is remembered
)

// courierRetry spaces the tries to bring what a daemon sent.
var courierRetry = backoff.Policy{First: 50 * time.Millisecond, Most: 5 * time.Second}

func newCouriers(r *Runtime) *couriers {
	return &couriers{rt: r, env: r.env, all: make(map[route]*courier), found: make(map[identity.EntityID]identity.NodeID)}
}

// start sees to it that somebody brings what the daemon has. It needs d.mu.
func (c *couriers) start(d *hosted) {
	pending := d.effects.Pending()
	if len(pending) == 0 || c.rt.life.Load() == lifeRegistering {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range pending {
		to := route{d.id, pending[i].Place}
		if c.all[to] != nil {
			continue
		}
		if !c.env.Work.Begin() {
			return
		}
		k := &courier{couriers: c, route: to}
		c.all[to] = k
		go func() {
			defer c.env.Work.Done()
			k.run(c.env.Context)
		}()
	}
}

// reason says why the courier has not brought what there is.
func (c *couriers) reason(id identity.EntityID, p effect.Place) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.all[route{id, p}]; k != nil && k.reason != nil {
		return k.reason.Error()
	}
	return ""
}

// run brings what there is until there is nothing.
func (c *courier) run(ctx context.Context) {
	defer c.hangUp()
	tries := courierRetry.Start()
	for ctx.Err() == nil {
		list, ok := c.next(ctx)
		if !ok {
			return
		}
		taken, err := c.bring(ctx, list)
		if err == nil {
			err = c.settle(ctx, taken, "")
		} else if err = c.givenUp(err); err != nil && errors.Is(err, errGivenUp) {
			err = c.settle(ctx, list, err.Error())
		}
		c.mu.Lock()
		c.reason = err
		c.mu.Unlock()
		if errors.Is(err, channel.ErrPassedOver) {
			c.tellLost(list, err)
		}
		if err == nil {
			tries.Reset()
			continue
		}
		c.hangUp()
		if tries.Wait(ctx, nil) != nil {
			break
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.all, c.route)
}

func (c *courier) hangUp() {
	if c.conn != nil {
		c.conn.Abort()
		c.conn = nil
	}
}

// next returns what is to be brought now, once it is durable; false where there is
// nothing, and the courier ends.
func (c *courier) next(ctx context.Context) ([]channel.Carriage, bool) {
	for tries := courierRetry.Start(); ; {
		d, err := c.rt.find(c.daemon)
		if err == nil {
			err = fair.Sleep(ctx, d.owes())
		}
		var pending []effect.Pending
		var last *ticket
		if err == nil {
			err = d.turn(ctx, func(*fair.Turn) error {
				if err := d.going(); err != nil {
					c.end() // who starts it again starts another
					return err
				}
				if d.effects != nil {
					pending = d.effects.For(c.place, channel.MaxCarry, courierBytes)
				}
				if len(pending) == 0 {
					c.end()
				}
				last = d.last
				return nil
			})
		}
		switch {
		case err != nil && (gone(err) || tries.Wait(ctx, nil) != nil):
			return nil, c.later(err)
		case err != nil:
			continue
		case len(pending) == 0:
			return nil, false
		}
		if err := last.wait(ctx); err != nil {
			if tries.Wait(ctx, nil) != nil {
				return nil, c.later(err)
			}
			continue // the daemon goes back to what is stored
		}
		list := make([]channel.Carriage, len(pending))
		for i, p := range pending {
			list[i] = channel.Carriage{Epoch: p.Epoch, Number: p.Number, Payload: p.Payload}
		}
		return list, true
	}
}

// gone reports whether the daemon is not this node's any more, or for now.
func gone(err error) bool {
	var moved *MovedError
	return errors.As(err, &moved) || errors.Is(err, ErrHalted) || errors.Is(err, ErrHeld) || final(err)
}

// later ends the courier: the daemon is not here, or takes no events. Whoever
// brings it back starts another. It returns false.
func (c *courier) later(err error) bool {
	c.rt.env.Logger.Debug("what a daemon sent waits", "daemon", c.daemon.Origin(), "to", c.place, "error", err)
	c.end()
	return false
}

func (c *courier) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all[c.route] == c {
		delete(c.all, c.route)
	}
}

// settle notes that what was brought is settled.
func (c *courier) settle(ctx context.Context, list []channel.Carriage, lost string) error {
	last := list[len(list)-1]
	d, err := c.rt.find(c.daemon)
	if err != nil {
		return err
	}
	return d.turn(ctx, func(*fair.Turn) error { return c.settled(d, list, last, lost) })
}

// settled needs d.mu.
func (c *courier) settled(d *hosted, list []channel.Carriage, last channel.Carriage, lost string) error {
	if d.effects == nil {
		return nil
	}
	rec, err := encodeRecord(&sentRecord{Place: c.place, Epoch: last.Epoch, Number: last.Number, Lost: lost, Time: d.now()})
	if err != nil {
		return err
	}
	d.effects.Settle(c.place, last.Epoch, last.Number)
	d.did()
	if d.recording() {
		d.record(rec)
	}
	bytes := 0
	for i := range list {
		bytes += effect.Cost(len(list[i].Payload))
	}
	d.share.Made(len(list), int64(bytes))
	d.madeRoom()
	if lost != "" {
		d.lost.sent.Add(uint64(len(list)))
		d.log.add(2, fmt.Sprintf("%d events that it sent to %s are given up: %s", len(list), c.place, lost))
		c.rt.env.Logger.Warn("what a daemon sent is given up", "daemon", c.daemon.Origin(), "to", c.place, "events", len(list), "reason", lost)
	}
	return nil
}

// tellLost notes in the daemon's log and in its count of lost events that the receiver
// passed some of what it sent over.
func (c *courier) tellLost(list []channel.Carriage, why error) {
	d, err := c.rt.find(c.daemon)
	if err != nil {
		return
	}
	d.lost.sent.Add(uint64(lostOf(why, len(list))))
	d.log.add(2, fmt.Sprintf("of what it sent to %s: %v", c.place, why))
	c.rt.env.Logger.Warn("what a daemon sent was passed over", "daemon", c.daemon.Origin(), "to", c.place, "reason", why)
}

// stuck reports whether all that the daemon has still to bring goes to who has no room
// for it.
func (c *couriers) stuck(id identity.EntityID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	any := false
	for to, k := range c.all {
		if to.daemon != id {
			continue
		}
		if any = true; !errors.Is(k.reason, channel.ErrNoRoom) {
			return false
		}
	}
	return any
}

// blocked reports whether something of the daemon's waits for another reason than a
// daemon that takes no more: the reason passes by itself.
func (c *couriers) blocked(id identity.EntityID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for to, k := range c.all {
		if to.daemon == id && k.reason != nil && !errors.Is(k.reason, channel.ErrNoRoom) && !errors.Is(k.reason, channel.ErrBusy) && !errors.Is(k.reason, channel.ErrPassedOver) {
			return true
		}
	}
	return false
}

// errGivenUp says that there is no place to bring it to.
var errGivenUp = errors.New("there is no such place on any node that answers")

// givenUp turns err into errGivenUp where everybody has said for long enough that
// there is no such place.
func (c *courier) givenUp(err error) error {
	if !errors.Is(err, channel.ErrNoReceiver) && !errors.Is(err, channel.ErrNoChannel) {
		c.lost = time.Time{}
		return err
	}
	now := c.rt.env.Clock()
	if c.lost.IsZero() {
		c.lost = now
	}
	if now.Sub(c.lost) < courierLost {
		return err
	}
	c.lost = time.Time{}
	return fmt.Errorf("%w: %w", errGivenUp, err)
}

// bring carries the list to its place, wherever that is, and returns as much of it as
// was taken there, one at least.
func (c *courier) bring(ctx context.Context, list []channel.Carriage) (taken []channel.Carriage, err error) {
	if c.place.Channel != "" {
		return c.bringTo(ctx, c.place.Node, list)
	}
	asked := make(map[identity.NodeID]bool)
	var unheard error // of a node that may have the daemon
	at, by, hops := c.believed(), c.rt.env.Self, 0
	for {
		asked[at] = true
		taken, err := c.bringProven(ctx, at, by, list)
		var moved *movedFeed
		switch {
		case err == nil:
			c.mu.Lock()
			if len(c.found) >= mostFound {
				clear(c.found) // it is a cache
			}
			c.found[c.place.To] = at
			c.mu.Unlock()
			return taken, nil
		case errors.As(err, &moved):
			if hops++; hops > mostHops {
				return nil, fmt.Errorf("daemon %s moved on %d times: %w", c.place.To.Origin(), hops, err)
			}
			at, by = moved.to, at
			continue
		case errors.Is(err, channel.ErrNoReceiver):
		case errors.Is(err, mesh.ErrUnreachable), errors.Is(err, mesh.ErrUnknownNode), errors.Is(err, ErrUnproven):
			unheard = err
		default:
			return nil, err
		}
		next, ok := c.another(asked)
		if !ok && unheard != nil {
			return nil, unheard
		}
		if !ok {
			return nil, err
		}
		at, by = next, 0
	}
}

// bringProven is bringTo where the node proves that it has the receiving daemon. by is
// the node that said so; 0: none did.
func (c *courier) bringProven(ctx context.Context, at, by identity.NodeID, list []channel.Carriage) (taken []channel.Carriage, err error) {
	if c.conn == nil || c.at != at { // where one is open, it was proven
		p, err := c.rt.Believe(ctx, c.place.To, at, by)
		var moved *MovedError
		switch {
		case errors.As(err, &moved):
			return nil, &movedFeed{moved.Node}
		case err != nil:
			return nil, err
		case p.Node != at:
			return nil, &movedFeed{p.Node}
		}
	}
	return c.bringTo(ctx, at, list)
}

// believed is where the receiving daemon is looked for first.
func (c *courier) believed() identity.NodeID {
	_, err := c.rt.find(c.place.To)
	var moved *MovedError
	switch {
	case err == nil:
		return c.rt.env.Self
	case errors.As(err, &moved):
		return moved.Node
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, ok := c.found[c.place.To]; ok {
		return at
	}
	return c.rt.env.Self
}

// another returns a node that was not asked.
func (c *courier) another(asked map[identity.NodeID]bool) (identity.NodeID, bool) {
	all := []identity.NodeID{c.rt.env.Self}
	if lister, ok := c.rt.mesh.(interface{ PeerIDs() []identity.NodeID }); ok {
		all = append(all, lister.PeerIDs()...)
	}
	for _, id := range all {
		if !asked[id] {
			return id, true
		}
	}
	return 0, false
}

// bringTo carries the list to a node, and returns as much of it as is taken there.
func (c *courier) bringTo(ctx context.Context, at identity.NodeID, list []channel.Carriage) (taken []channel.Carriage, err error) {
	if c.conn == nil || c.at != at {
		c.hangUp()
		if c.conn, err = c.rt.openChannel(ctx, at); err != nil {
			return nil, err
		}
		c.at = at
	}
	m := &channel.Carry{Version: channel.Version, From: c.daemon, To: c.place.To, Channel: c.place.Channel, Effects: list}
	if m.Residence, m.Token, err = c.credentials(ctx); err != nil {
		return nil, err
	}
	if len(m.Residence) == 0 && at != c.rt.env.Self {
		return nil, fmt.Errorf("daemon %s cannot say who it is to another node: %w", c.daemon.Origin(), identity.ErrReadOnly)
	}
	defer time.AfterFunc(courierPatient, c.conn.Abort).Stop()
	err = errors.Join(c.conn.Send(m), c.conn.Flush())
	var msg channel.Message
	if err == nil {
		msg, err = c.conn.Recv()
	}
	if err != nil {
		c.hangUp()
		return nil, fmt.Errorf("%w: %w", mesh.ErrUnreachable, err)
	}
	switch msg := msg.(type) {
	case *channel.Carried:
		n := slices.IndexFunc(list, func(e channel.Carriage) bool { return e.Epoch == msg.Epoch && e.Number == msg.Number })
		if taken = list[:n+1]; n < 0 {
			err = fmt.Errorf("%w: it is said to have taken effect %d", channel.ErrBadMessage, msg.Number)
		}
	case *channel.Moved:
		err = &movedFeed{msg.Node}
	case *channel.Refused:
		err = &channel.Refusal{Code: msg.Code, Text: msg.Text}
	default:
		err = fmt.Errorf("%w: a %T in answer to effects", channel.ErrBadMessage, msg)
	}
	if err != nil {
		c.hangUp()
	}
	return taken, err
}

// credentials are the daemon's word that it is here, and the token for the channel.
// ErrHalted where it was stopped since its effects were listed.
func (c *courier) credentials(ctx context.Context) (residence, token []byte, err error) {
	d, err := c.rt.find(c.daemon)
	if err != nil {
		return nil, nil, err
	}
	err = d.turn(ctx, func(*fair.Turn) error {
		if err := d.going(); err != nil {
			return err
		}
		residence, token, err = c.credentialsOf(d)
		return err
	})
	return residence, token, err
}

// credentialsOf needs d.mu.
func (c *courier) credentialsOf(d *hosted) (residence, token []byte, err error) {
	if d.key.CanSign() {
		if c.word == nil || c.wordEpoch != d.epoch {
			if c.word, err = channel.NewResidence(d.key, c.rt.env.Self, d.epoch); err != nil {
				return nil, nil, err
			}
			c.wordEpoch = d.epoch
		}
		residence = c.word
	}
	if d.effects != nil && c.place.Channel != "" {
		if g := d.effects.Grants().MayPublish(c.place.Channel); g != nil {
			token = g.Token
		}
	}
	return residence, token, nil
}
