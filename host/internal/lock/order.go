// Package lock is the order in which a runtime's locks are taken: this page is the only
// place that says it. A goroutine takes a lock only while each that it holds comes before
// it here, and waits for nothing else under one that is not a daemon's, an arrival's or
// before those.
//
//	Start       one Start at a time
//	Binding     a daemon's subscriptions change
//	Arrival     a daemon on its way here, as the target of its migration sees it
//	Daemon      a daemon: it is held while the daemon processes an event
//	Migration   a daemon's migration away, as its source sees it
//	Copies      the list of the copies of other nodes' daemons, and
//	Copy        one of them
//	Leader      a daemon's standbys, as its owner sees them
//	Cluster     the node's part in its cluster
//	Returning   what is kept of a daemon that left is deleted, or the daemon comes back
//	Runtime     accusations
//	Registry    kinds and modules
//	Holds       which daemons are held
//	Table       who is where
//	Tombstones  who left
//	Queue       compilations, and exchanges with peers: each is begun under it
//	Leaf        all others: nothing is taken under one of them
//
// TryLock waits for nobody and is in no order. A lock that was never taken before is
// known to its maker alone, who may take it while he holds another of its rank. Channels,
// subscriptions, timers and the outbox have locks of their own, which come after Daemon;
// the store's come after all, and the store calls nobody under them.
//
// In a program for use Mutex and RWMutex are those of package sync. Under the race
// detector, and with the build tag lockorder, they panic where the order is broken.
package lock

// rank is a place in the order.
type rank int

const (
	start rank = iota
	binding
	arrival
	daemon
	migration
	copies
	copyRank
	leader
	cluster
	returning
	runtimeRank
	registry
	holds
	table
	tombstones
	queue
	leaf
)

func (r rank) String() string {
	return [...]string{"Start", "Binding", "Arrival", "Daemon", "Migration", "Copies", "Copy", "Leader", "Cluster",
		"Returning", "Runtime", "Registry", "Holds", "Table", "Tombstones", "Queue", "Leaf"}[r]
}

// Rank is where a lock stands in the order.
type Rank interface{ rank() rank }

// The ranks, first to last.
type (
	Start      struct{}
	Binding    struct{}
	Arrival    struct{}
	Daemon     struct{}
	Migration  struct{}
	Copies     struct{}
	Copy       struct{}
	Leader     struct{}
	Cluster    struct{}
	Returning  struct{}
	Runtime    struct{}
	Registry   struct{}
	Holds      struct{}
	Table      struct{}
	Tombstones struct{}
	Queue      struct{}
	Leaf       struct{}
)

func (Start) rank() rank      { return start }
func (Binding) rank() rank    { return binding }
func (Arrival) rank() rank    { return arrival }
func (Daemon) rank() rank     { return daemon }
func (Migration) rank() rank  { return migration }
func (Copies) rank() rank     { return copies }
func (Copy) rank() rank       { return copyRank }
func (Leader) rank() rank     { return leader }
func (Cluster) rank() rank    { return cluster }
func (Returning) rank() rank  { return returning }
func (Runtime) rank() rank    { return runtimeRank }
func (Registry) rank() rank   { return registry }
func (Holds) rank() rank      { return holds }
func (Table) rank() rank      { return table }
func (Tombstones) rank() rank { return tombstones }
func (Queue) rank() rank      { return queue }
func (Leaf) rank() rank       { return leaf }
