package hosttest

import (
	"context"

	"wasmhost.example/host/standby"
)

// OpenStandby implements host.Peer. The other side's handler runs on a goroutine
// of its own.
func (p *peer) OpenStandby(ctx context.Context) (standby.Conn, error) {
	to, err := p.reach()
	if err != nil {
		return nil, err
	}

	to.mu.Lock()
	h := to.handler
	to.mu.Unlock()
	near, far := standby.Pipe()
	stop := context.AfterFunc(ctx, near.Abort)
	n := p.from.net
	one := &standbyPipe{near, p.from, to}
	n.mu.Lock()
	if n.standbys == nil {
		n.standbys = make(map[*standbyPipe]struct{})
	}

	n.standbys[one] = struct{}{}
	n.mu.Unlock()
	go func() {
		defer func() {
			stop()
			n.mu.Lock()
			defer n.mu.Unlock()
			delete(n.standbys, one)
		}()

		if h != nil {
			h.HandleStandby(context.Background(), p.from.id, far)
		}

		_ = far.Close() // a pipe's never fails
	}()
	if n.WrapStandby != nil {
		return n.WrapStandby(p.from.id, to.id, near), nil
	}

	return near, nil
}

type standbyPipe struct {
	standby.Conn
	from, to *Mesh
}

// cutStandbys breaks the streams about standbys that the mesh has an end of. It
// needs n.mu.
func (n *Net) cutStandbys(m *Mesh) {
	for p := range n.standbys {
		if p.from == m || p.to == m {
			p.Abort()
		}
	}
}

// CutStandbys breaks the streams about standbys that the mesh has an end of.
func (n *Net) CutStandbys(m *Mesh) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cutStandbys(m)
}
