package client

// The methods of a topic are on a type of its own, which Client returns: c.Groups().Scale
// asks the same node, with the same token and the same options, as c.Send. A topic costs
// nothing to make, is safe for concurrent use as its client is, and needs no closing. Its
// zero value asks nobody: get it from a client.

// Daemons are the daemons that the node reaches: its own and, where a method does not say
// otherwise, those of its peers. A reference is a name, a whole id, or NAME@NODE.
type Daemons struct{ c *Client }

// Daemons returns the topic of daemons.
func (c *Client) Daemons() Daemons { return Daemons{c} }

// Quarantine are the events that failed at a daemon and wait for a decision.
type Quarantine struct{ c *Client }

// Quarantine returns the topic of failed events.
func (c *Client) Quarantine() Quarantine { return Quarantine{c} }

// Migrations are the moves of daemons that the node takes or took part in. Client.Migrate
// begins one.
type Migrations struct{ c *Client }

// Migrations returns the topic of migrations.
func (c *Client) Migrations() Migrations { return Migrations{c} }

// Kinds are the registered templates of daemons, with their modules.
type Kinds struct{ c *Client }

// Kinds returns the topic of kinds.
func (c *Client) Kinds() Kinds { return Kinds{c} }

// Groups are the groups of daemons that the node reaches. Client.Send to group/NAME sends to
// a member.
type Groups struct{ c *Client }

// Groups returns the topic of groups.
func (c *Client) Groups() Groups { return Groups{c} }

// Channels are the channels that nodes publish, with their subscriptions and permissions.
type Channels struct{ c *Client }

// Channels returns the topic of channels.
func (c *Client) Channels() Channels { return Channels{c} }

// Node is the one node that the client asks.
type Node struct{ c *Client }

// Node returns the topic of the node that the client asks.
func (c *Client) Node() Node { return Node{c} }

// Nodes are the node that the client asks and the peers that it trusts.
type Nodes struct{ c *Client }

// Nodes returns the topic of nodes.
func (c *Client) Nodes() Nodes { return Nodes{c} }

// Cluster is the cluster of the node. A node in none answers no-cluster.
type Cluster struct{ c *Client }

// Cluster returns the topic of the node's cluster.
func (c *Client) Cluster() Cluster { return Cluster{c} }

// Tokens are the API tokens of the node. Only its owner may ask for them.
type Tokens struct{ c *Client }

// Tokens returns the topic of API tokens.
func (c *Client) Tokens() Tokens { return Tokens{c} }

// Proofs are the proofs of equivocation that the node has on record. Only its owner may ask
// for them.
type Proofs struct{ c *Client }

// Proofs returns the topic of proofs.
func (c *Client) Proofs() Proofs { return Proofs{c} }
