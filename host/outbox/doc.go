// Package outbox delivers what daemons send, publish and set: a Sender brings effects of
// this node's daemons to the nodes that they go to, an Inbox takes those that come, and
// Timers fires the daemons' timers when they are due.
//
// Effects and timers are part of daemon state; here is only who has some and when. The
// package knows places, messages and retries. It does not know the runtime, nor how a daemon
// is run or stored: that is behind Daemons, Receivers and Firer. An effect is acknowledged,
// or given up, once; until then it is delivered again, and the receiver tells repeats by
// their numbers.
package outbox
