package host

// What a Runtime can be asked beyond running daemons, by topic. Each of these is a small
// value that stands for its runtime: it may be copied and kept, is safe for concurrent use
// as the runtime is, and its methods fail as the runtime's do before Start and after
// Shutdown.

// Migrations are those from here and to here, under way and over.
type Migrations struct{ rt *Runtime }

// Migrations returns the node's migrations. StartMigration begins one.
func (r *Runtime) Migrations() Migrations { return Migrations{r} }

// Evidence is what proves where daemons were: receipts, accusations, and what is kept of
// copies that lost.
type Evidence struct{ rt *Runtime }

// Evidence returns what the node can prove.
func (r *Runtime) Evidence() Evidence { return Evidence{r} }

// Quarantine is the failed events that wait for an operator.
type Quarantine struct{ rt *Runtime }

// Quarantine returns the failed events of the node's daemons.
func (r *Runtime) Quarantine() Quarantine { return Quarantine{r} }

// Outputs are what daemons emitted, from their histories and as they come.
type Outputs struct{ rt *Runtime }

// Outputs returns what the node's daemons emitted.
func (r *Runtime) Outputs() Outputs { return Outputs{r} }

// Copies are what this node keeps of other nodes' daemons, as their standby.
type Copies struct{ rt *Runtime }

// Copies returns the node's copies of daemons elsewhere.
func (r *Runtime) Copies() Copies { return Copies{r} }

// Unconfirmed is about daemons, and nodes, of which another may be running: after a
// restore they are held until it is certain, or said, that there is none.
type Unconfirmed struct{ rt *Runtime }

// Unconfirmed returns what is held here until it is confirmed.
func (r *Runtime) Unconfirmed() Unconfirmed { return Unconfirmed{r} }

// Places say where daemons are that are not here.
type Places struct{ rt *Runtime }

// Places returns what the node knows of where daemons are.
func (r *Runtime) Places() Places { return Places{r} }

// Daemons are those that are here, running or passive, as they are looked at and set up.
type Daemons struct{ rt *Runtime }

// Daemons returns the node's daemons. Spawn makes one, Deliver gives it an event.
func (r *Runtime) Daemons() Daemons { return Daemons{r} }

// Node is the node as a whole: what bounds it, and whether it drains.
type Node struct{ rt *Runtime }

// Node returns the node that the runtime is.
func (r *Runtime) Node() Node { return Node{r} }
