package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/server/cluster"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/directory/etcd"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
	"wasmhost.example/wire/trust"
)

// comeIn asks the nodes that this one trusts to let it come to their cluster, and
// begins one where none of them is in any. The joined node is asked until it
// answers.
func (e *Engine) comeIn(ctx context.Context, dir string, joined identity.NodeID, was *state) (*state, error) {
	addr, reach, err := e.memberAddr()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, e.o.JoinTimeout)
	defer cancel()
	for {
		st, err := e.askIn(ctx, addr, reach, joined)
		switch {
		case err == nil && st == nil && joined != 0:
			return nil, fmt.Errorf("joining the cluster: %w: node %s, that the token is of", directory.ErrNoCluster, joined)
		case err == nil && st == nil:
			if st, err = e.found(addr, reach); err == nil {
				err = writeState(dir, st)
			}
			return st, err
		case err == nil && st.Voter:
			// What it was told is good for as long as nobody else comes in between: it is
			// asked again where the others are not those.
			if e.member, err = e.startMember(dir, st); err == nil {
				return st, writeState(dir, st)
			}
		case err == nil:
			return st, writeState(dir, st)
		case errors.Is(err, errNotLetIn):
			return nil, err
		case was != nil:
			e.logger.Warn("asking the cluster's members: those of before are taken", "error", err)
			return was, nil
		}
		e.logger.Info("joining the cluster: it is tried again", "error", err)
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return nil, fmt.Errorf("joining the cluster: %w", err)
		}
	}
}

// errNotLetIn says that it is of no use to ask again.
var errNotLetIn = errors.New("the node is not let into the cluster")

// askIn asks the trusted nodes, the joined one first. It returns nil where none of
// them is in a cluster.
func (e *Engine) askIn(ctx context.Context, addr, reach string, joined identity.NodeID) (*state, error) {
	peers, err := e.mesh.Peers()
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(peers, func(a, b wire.PeerInfo) int {
		switch {
		case a.ID == joined:
			return -1
		case b.ID == joined:
			return 1
		}
		return 0
	})
	var silent, denied error
	for _, p := range peers {
		ask, cancel := context.WithTimeout(ctx, 5*time.Second)
		in, err := cluster.AskIn(ask, e.mesh, p.ID, api.Admission{Cluster: e.o.Name, Addr: reach, Directory: directory.ProtocolVersion})
		cancel()
		var said *api.Problem
		if err == nil && !in.Voter && in.Directory != directory.ProtocolVersion {
			err = fmt.Errorf("%w: node %s", directory.ErrVersion, p.ID)
		}
		switch {
		case err == nil:
			return e.admitted(in, addr, reach)
		case errors.As(err, &said) && said.Code == "no-cluster":
		case errors.As(err, &said) && said.Code == "removed": // a token may let it in at this moment
			silent = fmt.Errorf("asking node %s: %w", p.ID, err)
		case errors.As(err, &said) && said.Code == "denied" && p.ID != joined:
			denied = fmt.Errorf("%w: node %s: %w", errNotLetIn, p.ID, said)
		case errors.As(err, &said) && !said.Retriable && said.Status < 500:
			return nil, fmt.Errorf("%w: %w", errNotLetIn, said)
		default:
			silent = fmt.Errorf("asking node %s: %w", p.ID, err)
		}
		if p.ID == joined {
			return nil, silent
		}
	}
	if denied != nil {
		return nil, denied
	}
	if silent != nil {
		silent = fmt.Errorf("a trusted node may be in a cluster already: start it, or trust it no more: %w", silent)
	}
	return nil, silent
}

func (e *Engine) admitted(in api.Admitted, addr, reach string) (*state, error) {
	st := &state{Name: in.Cluster, Voter: in.Voter, Token: in.Token, Others: in.Others, Voters: in.Voters}
	if !in.Voter {
		return st, e.introduced(in.Nodes)
	}
	st.Addr, st.Reach, st.Node = addr, reach, e.mesh.Addr().String()
	return st, st.seal(in.Secret, e.o.Key)
}

// introduced makes the members trusted that a node has been told of when it was let in.
func (e *Engine) introduced(nodes []api.AdmittedNode) error {
	for _, n := range nodes {
		key, err := identity.ParseEntityID(n.Key)
		if err != nil {
			return fmt.Errorf("reading who is in the cluster: %w", err)
		}
		rights, err := trust.ParseRights(n.Rights)
		if err != nil {
			return fmt.Errorf("reading who is in the cluster: %w", err)
		}
		if err := e.mesh.Introduce(key, rights); err != nil {
			return err
		}
		if err := e.mesh.Met(key, n.Name, n.Addr); err != nil {
			return err
		}
	}
	return nil
}

// found is the state of a cluster that begins.
func (e *Engine) found(addr, reach string) (*state, error) {
	secret, err := etcd.NewSecret()
	if err != nil {
		return nil, err
	}
	e.logger.Info("this node begins a cluster", "name", e.o.Name)
	st := &state{Name: e.o.Name, Voter: true, Addr: addr, Reach: reach, Node: e.mesh.Addr().String(), Token: e.mesh.Self().String()}
	return st, st.seal(secret[:], e.o.Key)
}
