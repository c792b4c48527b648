package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"wasmhost.example/api/client"
	"wasmhost.example/api/server"
	"wasmhost.example/host"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
	"wasmhost.example/wire/trust"
)

// Node is a node that runs. Its methods may be called concurrently, and after its end too:
// what needs the node then fails.
type Node struct {
	logger    *slog.Logger
	store     *store.Store
	mesh      *wire.Mesh
	cluster   clusterPart // nil: it is in none
	rt        *host.Runtime
	events    *wire.Node
	api       *server.Server
	listeners *listeners
	pipe      *pipeListener // of Client
	control   []net.Listener
	http      *http.Server // of control; nil: it has not begun

	failed  chan error // what a listener ended by
	end     context.CancelFunc
	work    sync.WaitGroup
	closers []func() error // called from the last to the first

	closing   sync.Once
	closeErr  error
	done      chan struct{} // closed with err set
	doneOnce  sync.Once
	err       error
	listening sync.Mutex // of listeners' reload
}

func newNode(logger *slog.Logger) *Node {
	return &Node{logger: logger, pipe: newPipeListener(), failed: make(chan error, 8), end: func() {}, done: make(chan struct{})}
}

func (n *Node) onClose(f func() error) { n.closers = append(n.closers, f) }

// ID is the node's id: the beginning of its key's.
func (n *Node) ID() identity.NodeID { return n.mesh.Self() }

// Addrs are where a node listens. What it does not listen on is empty.
type Addrs struct {
	Mesh    string // UDP, for other nodes
	API     string // TCP with TLS
	Metrics string
	Pprof   string
}

// Addrs returns where the node listens, with the ports that the system picked.
func (n *Node) Addrs() Addrs {
	at := n.listeners.addrs
	return Addrs{Mesh: n.mesh.Addr().String(), API: at["api"], Metrics: at["metrics"], Pprof: at["pprof"]}
}

// Runtime returns the node's runtime. It ends with the node: nobody else calls Shutdown.
func (n *Node) Runtime() *host.Runtime { return n.rt }

// Client returns a client of the node's control API, which may do everything. Its
// requests do not leave the process. It may be called concurrently.
func (n *Node) Client() *client.Client { return client.New(n.pipe.transport()) }

// Token returns a token with which another node joins this one within ttl, once, and then
// may do here what rights say (Config.Join, Node.Join). Whoever has it can join: it is a
// secret.
func (n *Node) Token(ttl time.Duration, rights trust.Rights) (string, error) {
	return n.mesh.Token(ttl, rights)
}

// Join connects the node to the one whose token it is; both trust each other from then on.
// rights are what that node may do here. It returns its id.
func (n *Node) Join(ctx context.Context, token string, rights trust.Rights) (identity.NodeID, error) {
	return n.mesh.JoinWith(ctx, token, rights)
}

// SetTags replaces what the node announces. The map is the node's from then on.
func (n *Node) SetTags(tags map[string]string) { n.api.SetTags(tags) }

// ReloadFiles reads the API's certificate and opens the audit log again: they may have
// been replaced. What cannot be read leaves what was.
func (n *Node) ReloadFiles() error {
	n.listening.Lock()
	defer n.listening.Unlock()
	return n.listeners.reload()
}

// StoreFailed is closed when the disk failed in a way that only a restart helps with. The
// node ends by itself then; nothing acknowledged is lost.
func (n *Node) StoreFailed() <-chan struct{} { return n.store.Failed() }

// watch waits until the node cannot go on, or life ends.
func (n *Node) watch(life context.Context) {
	var parts sync.WaitGroup
	defer parts.Wait()
	life, cancel := context.WithCancel(life)
	defer cancel()
	if n.cluster != nil {
		parts.Go(func() { n.watchCluster(life) })
	}

	select {
	case <-n.done:
	case <-life.Done():
	case err := <-n.failed:
		n.finish(err)
	case <-n.store.Failed():
		n.finish(fmt.Errorf("the node ends, for a restart to find what is on disk; nothing acknowledged is lost: %w", n.store.Err()))
	}
}

func (n *Node) watchCluster(life context.Context) {
	restart, err := n.cluster.Wait(life)
	switch {
	case err != nil:
		n.finish(err)
	case restart:
		n.finish(&RestartError{n.mesh.Addr().String()})
	}
}

// finish closes done, with the reason of the node's end; nil: it was closed.
func (n *Node) finish(err error) {
	n.doneOnce.Do(func() {
		n.err = err
		close(n.done)
	})
}

// Done is closed when the node cannot go on, and when it is closed. Err then says why.
// The node is still to be closed.
func (n *Node) Done() <-chan struct{} { return n.done }

// Err returns why the node cannot go on; nil while it runs and when it was closed. A
// *RestartError says that it is to be opened again; other errors are of the store, a
// listener or the cluster's engine.
func (n *Node) Err() error {
	select {
	case <-n.done:
		return n.err
	default:
		return nil
	}
}

// How long Close takes at most: for daemons to be stored, and for answers to be written.
const (
	closeTime   = 4 * time.Second
	answersTime = time.Second
)

// Close is Shutdown within a few seconds.
func (n *Node) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	return n.Shutdown(ctx)
}

// Shutdown takes no more events, stores every daemon's state and ends the node; ctx bounds
// how long it waits for work in progress. Nothing of the node runs when it returns. Later
// calls wait for the first and return what it did.
func (n *Node) Shutdown(ctx context.Context) error {
	n.closing.Do(func() { n.closeErr = n.shutDown(ctx) })
	return n.closeErr
}

func (n *Node) shutDown(ctx context.Context) (err error) {
	n.finish(nil)
	if n.rt != nil {
		err = n.rt.Shutdown(ctx)
	}

	if n.http != nil {
		err = errors.Join(err, n.endAnswers(ctx))
	}

	n.end()
	n.work.Wait()
	for i := len(n.closers) - 1; i >= 0; i-- {
		err = errors.Join(err, n.closers[i]())
	}
	return err
}

// endAnswers lets requests end, and cuts those that follow something.
func (n *Node) endAnswers(ctx context.Context) error {
	soon, cancel := context.WithTimeout(ctx, answersTime)
	defer cancel()
	if n.http.Shutdown(soon) == nil {
		return nil
	}
	if err := n.http.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}

	return nil
}

// closeControl closes listeners that the API's server did not.
func (n *Node) closeControl() (err error) {
	for _, l := range n.control {
		if closeErr := l.Close(); closeErr != nil && !errors.Is(closeErr, net.ErrClosed) {
			err = errors.Join(err, closeErr)
		}
	}
	return err
}
