package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
	"wasmhost.example/api/server/convert"
	"wasmhost.example/api/server/internal/locate"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/api/server/problem"
	"wasmhost.example/host/daemon"
	"wasmhost.example/identity"
	"wasmhost.example/wire/trust"
)

// learnKind makes a kind known here that nodes have which may push kinds to this one, as
// all nodes of its cluster may. host.ErrKindNotFound where none has it.
func (s *Server) learnKind(ctx context.Context, name string) error {
	id, k, err := s.offered(ctx, name)
	if err != nil || id == 0 {
		return err
	}
	own, err := daemon.LimitsOf(k.Limits)
	if err != nil {
		return fmt.Errorf("taking kind %q from node %s: %w", name, id, err)
	}
	var digest [32]byte
	err = web.HexInto(digest[:], k.Digest)
	var wasm []byte
	if err == nil {
		wasm, err = s.pullModule(ctx, id, name, digest)
	}
	if err == nil {
		_, err = s.rt.Kinds().PushWith(ctx, name, wasm, own)
	}
	if err != nil {
		return fmt.Errorf("taking kind %q from node %s: %w", name, id, err)
	}
	s.logger.Info("took a kind from another node", "kind", name, "module", k.Digest, "from", id)
	return nil
}

// offered returns a kind: from is 0 where it is known here, else the node that it can be
// taken from. Errors are those of learnKind.
func (s *Server) offered(ctx context.Context, name string) (from identity.NodeID, k api.Kind, err error) {
	here, unknown := s.rt.Kinds().Get(name)
	if unknown == nil {
		return 0, convert.KindOf(here, false), nil
	}
	if !errors.Is(unknown, daemon.ErrKindNotFound) || daemon.ValidKind(name) != nil || s.rt.Kinds().TakesModules() == 0 {
		return 0, k, unknown
	}
	said, _, err := locate.AskAll(ctx, s.find, func(ctx context.Context, c *client.Client) (api.Kind, error) { return c.Kinds().Get(ctx, name) })
	if err != nil {
		return 0, k, err
	}
	peers, err := s.mesh.Peers()
	if err != nil {
		return 0, k, err
	}
	kinds := make(map[identity.NodeID]api.Kind)
	for _, p := range peers {
		if k, ok := said[p.ID]; ok && k.Digest != "" && p.Rights&trust.RightKinds != 0 {
			kinds[p.ID] = k
		}
	}
	nodes := locate.Agreed(kinds, func(_ identity.NodeID, k api.Kind) string { return whatIs(k) })
	switch len(nodes) {
	case 0:
		return 0, k, unknown
	case 1:
	default:
		var has []string
		for _, n := range nodes {
			has = append(has, whatIs(kinds[n[0]]))
		}
		return 0, k, fmt.Errorf("%w: %q is %s", problem.ErrKindDiffers, name, strings.Join(has, "; "))
	}
	return nodes[0][0], said[nodes[0][0]], nil
}

// whatIs says in words what a kind is on the node that answered: its module, and the
// limits of its own.
func whatIs(k api.Kind) string {
	out := k.Digest
	for _, limit := range slices.Sorted(maps.Keys(k.Limits)) {
		out += fmt.Sprintf(", %s=%v", limit, k.Limits[limit])
	}
	return out
}
