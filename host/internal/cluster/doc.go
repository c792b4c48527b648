// Package cluster is a node's part in its cluster: it follows the directory, owns daemons by
// it, takes them over from nodes that are gone, and compares what it has with the standbys
// before a daemon serves.
//
// A daemon of a cluster, whole. Who owns it is what the directory says; each row
// is one transaction there, and what follows it here.
//
//	the directory says           | happens                           | the directory then says
//	nothing                      | spawn                             | owner A, epoch 1, in sync: none
//	owner A, in sync S           | B holds all that was acknowledged | in sync S and B; A's answers wait for B from before on
//	owner A, in sync S and B     | B lags, or is gone                | in sync S; then A's answers wait for B no longer
//	owner A, epoch e             | planned move: Released is durable | owner T, epoch e+1, in sync S without T; then A sends the release
//	owner A, epoch e, in sync B  | A's session is gone               | owner B, epoch e+1, in sync S without B; then B signs a failover and serves
//	owner A                      | stop                              | nothing; then A forgets
//
// A answers for an event when its disk has it, every standby in sync holds it, and
// A's lease holds at that moment. B takes nothing more of A from before it asks to
// be the owner. So what A answered for is at B, whatever their clocks say; the
// lease makes A stop before B starts.
package cluster
