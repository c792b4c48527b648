package cluster

import (
	"context"
	"crypto/rand"
	"fmt"

	"wasmhost.example/host/directory"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/reach"
	"wasmhost.example/host/standby"
	"wasmhost.example/identity"
)

// In a cluster, a daemon that is held as unconfirmed is confirmed by its standbys, where
// the directory says that it is this node's. What was acknowledged is with every standby
// in sync, so that a copy which has as much as they have is the last:
//
//	the standbys in sync                         | what follows
//	none                                         | it stays held: silence confirms nothing
//	one does not answer, or cannot compare       | it stays held
//	one has nothing, or nothing of this epoch    | it stays held: it merely knows nothing later
//	one has an extension                         | handed over, as by compareFirst
//	one has another history                      | it stays held
//	all have as much of this epoch, or less      | confirmed, under a higher epoch

// settleUnconfirmed is the table for one daemon. Where it returns an error, the daemon
// is looked at again.
func (c *Member) settleUnconfirmed(ctx context.Context, d *engine.Daemon, e directory.Entry) error {
	ours, err := reach.Of(c.env.Store, d.Entity())
	if err != nil {
		return fmt.Errorf("reading a held daemon's history: %w", err)
	}
	to, _, err := c.compareWithStandbys(ctx, d.Entity(), ours, e)
	switch {
	case err != nil:
		return err
	case to != nil && to.verdict == reach.TheirsGoesOn:
		return c.handOver(ctx, d, e, to)
	case to != nil:
		c.env.Logger.Warn("a restored daemon stays held: a standby in sync has another history", "daemon", d.Entity().Origin(), "standby", to.node)
		return nil
	}
	vouch, err := c.vouched(ctx, d.Entity(), ours, e)
	if !vouch || err != nil {
		return err
	}
	c.env.Logger.Warn("a restored daemon is confirmed: the directory names this node its owner, and no standby in sync has more", "daemon", d.Entity().Origin(), "name", d.Name(), "records", ours.Next)
	_, err = c.config.Node.Confirm(ctx, d.Entity())
	return err
}

// vouched reports whether every standby in sync, of which there is one at least, has
// records of the daemon under the epoch that the directory names.
func (c *Member) vouched(ctx context.Context, id identity.EntityID, ours reach.Extent, e directory.Entry) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, comparePatience)
	defer cancel()
	vouched := 0
	for _, n := range e.Standbys {
		if n == c.env.Self {
			continue
		}
		nonce := make([]byte, standby.NonceSize)
		if _, err := rand.Read(nonce); err != nil {
			return false, err
		}
		s, err := c.askStandby(ctx, n, &standby.Compare{Version: standby.Proving, Entity: id, Epoch: e.Epoch, Next: ours.Next, Sum: ours.Sum[:], Nonce: nonce})
		if err != nil {
			return false, &silentError{n, err}
		}
		if s == nil || s.Next == 0 || s.Epoch != e.Epoch || s.Next > ours.Next {
			return false, nil
		}
		vouched++
	}
	return vouched > 0, nil
}
