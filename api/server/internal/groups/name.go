package groups

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
	"wasmhost.example/api/server/internal/locate"
	"wasmhost.example/api/server/problem"
	"wasmhost.example/host/group"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
)

// A group's name is one node's. In a cluster the directory says whose, by a transaction.
// Nodes that trust each other without one, or met after both had made a group, may both
// keep one of a name: the name is then ambiguous, nothing is sent to either group, and
// each is only looked at and removed on its own node.
//
// A keeper therefore asks its peers whether they keep the name too: before its first
// event, whenever it meets a peer, and every time that it looks at the group's members.

// names are what is known of who else keeps the groups of this node.
type names struct {
	mu     sync.Mutex
	byName map[string]*nameCheck
	making map[string]int // groups that are being made
}

// nameCheck is what was heard of one name.
type nameCheck struct {
	asking sync.Mutex // held while peers are asked; before mu

	mu     sync.Mutex
	asked  bool
	at     uint64            // the mesh's Encounters before peers were asked
	rivals []identity.NodeID // that keep the name too, sorted
	when   time.Time         // they were asked for last
}

func (n *names) of(name string) *nameCheck {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.byName == nil {
		n.byName = make(map[string]*nameCheck)
	}
	c := n.byName[name]
	if c == nil {
		c = &nameCheck{}
		n.byName[name] = c
	}
	return c
}

// make notes that a group is being made, until the function that it returns is called.
func (n *names) make(name string) (made func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.making == nil {
		n.making = make(map[string]int)
	}
	n.making[name]++
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.making[name]--; n.making[name] == 0 {
			delete(n.making, name)
		}
	}
}

func (n *names) isMade(name string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.making[name] > 0
}

func (n *names) forget(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.byName, name)
}

// ambiguous is how many names are.
func (n *names) ambiguous() (count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.byName {
		c.mu.Lock()
		if len(c.rivals) > 0 {
			count++
		}
		c.mu.Unlock()
	}
	return count
}

// current reports whether what was heard is still all that there is to hear.
func (c *nameCheck) current(encounters uint64) (rivals []identity.NodeID, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rivals, c.asked && c.at == encounters
}

// rivalsFor is for how long other keepers of a name are believed to be there still.
const rivalsFor = time.Second

// isOld reports whether who asks is to ask again who else keeps the name. It says so once
// in rivalsFor.
func (c *nameCheck) isOld() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.when) < rivalsFor {
		return false
	}
	c.when = time.Now()
	return true
}

// soleKeeper returns nil if this node, which keeps the group, is the only one that does:
// *AmbiguousGroupError. It asks only if peers came since it asked last, or, where there were
// others, if that is a while ago: one of the groups may have been removed.
func (k *Keeper) soleKeeper(ctx context.Context, name string) error {
	c := k.names.of(name)
	rivals, ok := c.current(k.mesh.Encounters())
	again := len(rivals) > 0 && c.isOld()
	if !ok || again {
		var err error
		if rivals, err = k.askRivals(ctx, c, name, again); err != nil {
			return err
		}
	}
	return k.rivalry(name, rivals)
}

func (k *Keeper) rivalry(name string, rivals []identity.NodeID) error {
	if len(rivals) == 0 {
		return nil
	}
	nodes := append([]identity.NodeID{k.mesh.Self()}, rivals...)
	slices.Sort(nodes)
	return &problem.AmbiguousGroupError{Name: name, Nodes: nodes}
}

// askRivals asks the peers who of them keeps the name, and takes note of it. The first
// time all are asked, later those with a session: another brings an encounter when it
// comes. Where again is not set, what another call has just heard will do.
func (k *Keeper) askRivals(ctx context.Context, c *nameCheck, name string, again bool) ([]identity.NodeID, error) {
	c.asking.Lock()
	defer c.asking.Unlock()
	at := k.mesh.Encounters()
	known, ok := c.current(at)
	if ok && !again {
		return known, nil
	}

	peers, err := k.find.Owners()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	asked := c.asked
	c.mu.Unlock()
	if asked {
		peers = slices.DeleteFunc(peers, func(p wire.PeerInfo) bool { return !p.Connected && !slices.Contains(known, p.ID) })
	}
	said, silent, err := locate.AskThese(ctx, k.find, peers, func(ctx context.Context, client *client.Client) (api.Group, error) {
		return client.Groups().GetHere(ctx, name)
	})
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	rivals := slices.DeleteFunc(slices.Clone(known), func(id identity.NodeID) bool { return !slices.Contains(silent, id) }) // one that does not answer keeps it still
	for id, g := range said {
		if g.Name == name {
			rivals = append(rivals, id)
		}
	}
	if keeper := k.claimName(ctx, name); keeper != 0 && !slices.Contains(rivals, keeper) {
		rivals = append(rivals, keeper)
	}
	slices.Sort(rivals)

	c.mu.Lock()
	changed := !slices.Equal(c.rivals, rivals)
	c.asked, c.at, c.rivals, c.when = true, at, rivals, time.Now()
	c.mu.Unlock()
	switch {
	case changed && len(rivals) > 0:
		k.logger.Error("another node keeps a group of the same name: nothing is sent to either until one is removed", "group", name, "nodes", rivals)
	case changed:
		k.logger.Info("this node alone keeps the group's name", "group", name)
	}
	k.place.Ambiguous(k.names.ambiguous())
	return rivals, nil
}

// nameIsFree returns nil if no node that answers keeps a group of the name.
// group.ErrExists, *AmbiguousGroupError.
func (k *Keeper) nameIsFree(ctx context.Context, name string) error {
	if _, err := k.groups.Get(name); err == nil {
		return fmt.Errorf("%w: %q, on node %s", group.ErrExists, name, k.mesh.Self())
	}
	at, _, err := k.keptAt(ctx, name)
	switch {
	case err != nil:
		return err
	case at != 0:
		return fmt.Errorf("%w: %q, on node %s", group.ErrExists, name, at)
	}
	return nil
}

// keptAt asks the peers which of them keeps the group; 0: none that answers.
// *AmbiguousGroupError.
func (k *Keeper) keptAt(ctx context.Context, name string) (at identity.NodeID, silent []identity.NodeID, err error) {
	owners, err := k.find.Owners()
	if err != nil {
		return 0, nil, err
	}
	said, silent, err := locate.AskThese(ctx, k.find, owners, func(ctx context.Context, c *client.Client) (api.Group, error) {
		return c.Groups().GetHere(ctx, name)
	})
	if err != nil {
		return 0, nil, err
	}
	kept := make(map[identity.NodeID]api.Group)
	for id, g := range said {
		if g.Name == name {
			kept[id] = g
		}
	}
	switch nodes := locate.Agreed(kept, func(id identity.NodeID, _ api.Group) identity.NodeID { return id }); len(nodes) {
	case 0:
		return 0, silent, nil
	case 1:
		return nodes[0][0], silent, nil
	default:
		return 0, silent, &problem.AmbiguousGroupError{Name: name, Nodes: slices.Concat(nodes...)}
	}
}
