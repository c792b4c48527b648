// Package subscriber has the subscriptions of a node's daemons to channels, of this node
// and of others. For each channel there is one stream to the node, whatever the number of
// its daemons that hear it; a ring keeps the newest events, and each daemon takes them at
// its own pace.
//
// The package knows channels, streams and cursors. It does not know the runtime, nor how a
// daemon is run or stored: a daemon's subscriptions are part of its state, behind Ledgers,
// and its turns behind Daemons. The publisher's side is package broker.
package subscriber
