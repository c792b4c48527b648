// Package broker has the channels that a node publishes: their logs, who may use them, and
// the streams by which nodes follow them. A daemon's outputs are a channel as well, whose
// log is the daemon's history.
//
// A Broker knows channels, tokens and peers. It does not know the runtime, nor how a daemon
// is run or where the table of daemons is: what it needs of daemons is in Outputs. Which of
// this node's daemons hear which channels is package subscriber's; what daemons publish by
// effects comes through package outbox.
package broker
