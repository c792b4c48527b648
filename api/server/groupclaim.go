package server

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"wasmhost.example/host/directory"
	"wasmhost.example/host/group"
	"wasmhost.example/identity"
)

// createGroup makes a group whose name no other node has. In a cluster the directory
// decides. Two nodes of none that make one at the same moment see each other's once both
// are stored; then neither is made.
func (s *Server) createGroup(ctx context.Context, spec group.Spec, seed *[32]byte) (*group.Group, error) {
	defer s.names.make(spec.Name)()
	if err := s.nameIsFree(ctx, spec.Name); err != nil {
		return nil, err
	}
	if m, err := s.rt.Cluster(); err == nil {
		err := m.ClaimGroup(ctx, spec.Name)
		var taken *directory.GroupTakenError
		switch {
		case errors.As(err, &taken):
			return nil, fmt.Errorf("%w: %w", group.ErrExists, err)
		case errors.Is(err, directory.ErrMalformed):
			s.logger.Warn("the directory is served by a node of an earlier version: the name of a group is claimed once that is upgraded", "group", spec.Name)
		case err != nil:
			return nil, err
		}
	}

	s.names.forget(spec.Name) // of a group of the name before
	g, err := s.groups.Create(ctx, spec, seed, func() error { return s.soleKeeper(ctx, spec.Name) })
	if err != nil {
		s.letGoOf(context.WithoutCancel(ctx), spec.Name)
	}
	return g, err
}

func (s *Server) removeGroup(ctx context.Context, name string) error {
	if err := s.groups.Remove(ctx, name); err != nil {
		return err
	}
	s.letGoOf(ctx, name)
	return nil
}

// letGoOf frees the name of a group that this node does not keep.
func (s *Server) letGoOf(ctx context.Context, name string) {
	if _, err := s.groups.Get(name); err == nil {
		return
	}
	s.names.forget(name)
	s.metrics.countAmbiguous(s.names.ambiguous())
	m, err := s.rt.Cluster()
	if err != nil {
		return // there is none
	}
	if err := m.ReleaseGroup(ctx, name); err != nil {
		s.logger.Warn("the directory still has the name of a group that is gone; it is removed later", "group", name, "error", err)
	}
}

// claimName makes the name of a group that this node keeps its own in the cluster's
// directory, where it is not, and returns which other node has it; 0: none is known to.
func (s *Server) claimName(ctx context.Context, name string) identity.NodeID {
	m, err := s.rt.Cluster()
	if err != nil {
		return 0
	}
	if _, err := s.groups.Get(name); err != nil || slices.Contains(m.Keeps(s.mesh.Self()), name) {
		return 0
	}
	err = m.ClaimGroup(ctx, name)
	var taken *directory.GroupTakenError
	if errors.As(err, &taken) {
		return taken.Keeper
	}
	if err != nil {
		s.logger.Debug("the directory does not take the name of a group now", "group", name, "error", err)
	}
	return 0
}

// freeNames removes from the directory the names of groups that this node does not keep
// any more.
func (s *Server) freeNames(ctx context.Context) {
	m, err := s.rt.Cluster()
	if err != nil {
		return
	}
	for _, name := range m.Keeps(s.mesh.Self()) {
		if !s.names.isMade(name) {
			s.letGoOf(ctx, name)
		}
	}
}
