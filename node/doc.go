// Package node runs a whole node inside a program: the store on disk, the runtime with
// its daemons, the QUIC mesh that connects it to other nodes, the control API, and its
// part in a cluster. The command line's "wasmhost serve" is a user of it.
//
// Open returns a node that is ready. It reads no flags and no environment, handles no
// signals, writes nothing to standard output, and never ends the process: what it has to
// say goes to Config.Logger, and a fault that ends the node closes Node.Done.
//
//	n, err := node.Open(ctx, node.Config{Dir: "data", Listen: "0.0.0.0:7433"})
//	if err != nil {
//		return err
//	}
//	defer n.Close()
//
//	c := n.Client() // the control API, without a socket
//	if _, err := c.Kinds().Push(ctx, "counter", wasm); err != nil {
//		return err
//	}
//
// A program that needs daemons and nothing around them uses package host instead.
//
// # Weight
//
// Config.Cluster needs an etcd, which is most of what a node links. The build tag noetcd
// leaves it out: Open then refuses a Config with Cluster by ErrNoClusterEngine.
package node
