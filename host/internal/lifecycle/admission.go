package lifecycle

// Question is all that says whether a request may run at a daemon now. Errors say what
// is in its way; nil: nothing of the kind.
type Question struct {
	Node    error // the node is not ready, or ends
	Room    error // the store takes no records; nil also for a request that writes none
	Refused error // there is proof against the daemon, or against its copy here
	Gone    error // why State is over

	State   State
	Asleep  bool // what is in memory is not what is stored, or is not there
	Holding bool // the daemon's cluster has not said that it may serve here
}

// Verdict is what becomes of the request.
type Verdict uint8

// The verdicts.
const (
	Serve          Verdict = iota + 1
	Refuse                 // with the error that stands beside
	AwaitMemory            // until the daemon's state is read
	AwaitMigration         // until the daemon is made, or has moved
	AwaitCluster           // until the cluster says that it may serve here
)

var verdictNames = [...]string{Serve: "serve", Refuse: "refuse", AwaitMemory: "await memory", AwaitMigration: "await the migration", AwaitCluster: "await the cluster"}

// String returns the verdict's stable name.
func (v Verdict) String() string { return verdictNames[v] }

// Answer says whether the request may run now. What stands in its way is looked at in
// this order: the node, its disk, what is known against the daemon, the daemon, its
// cluster. The error is nil unless the verdict is Refuse.
func (q *Question) Answer() (Verdict, error) {
	for _, err := range [...]error{q.Node, q.Room, q.Refused} {
		if err != nil {
			return Refuse, err
		}
	}
	switch {
	case q.State.Over():
		return Refuse, q.Gone
	case q.State == Migrating:
		return AwaitMigration, nil
	case q.Asleep:
		return AwaitMemory, nil
	case q.Holding:
		return AwaitCluster, nil
	}
	return Serve, nil
}
