package groups

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
func (k *Keeper) createGroup(ctx context.Context, spec group.Spec, seed *[32]byte) (*group.Group, error) {
	defer k.names.make(spec.Name)()
	if err := k.nameIsFree(ctx, spec.Name); err != nil {
		return nil, err
	}
	if m, err := k.rt.Cluster(); err == nil {
		err := m.ClaimGroup(ctx, spec.Name)
		var taken *directory.GroupTakenError
		switch {
		case errors.As(err, &taken):
			return nil, fmt.Errorf("%w: %w", group.ErrExists, err)
		case errors.Is(err, directory.ErrMalformed):
			k.logger.Warn("the directory is served by a node of an earlier version: the name of a group is claimed once that is upgraded", "group", spec.Name)
		case err != nil:
			return nil, err
		}
	}

	k.names.forget(spec.Name) // of a group of the name before
	g, err := k.groups.Create(ctx, spec, seed, func() error { return k.soleKeeper(ctx, spec.Name) })
	if err != nil {
		k.letGoOf(context.WithoutCancel(ctx), spec.Name)
	}
	return g, err
}

func (k *Keeper) removeGroup(ctx context.Context, name string) error {
	if err := k.groups.Remove(ctx, name); err != nil {
		return err
	}
	k.letGoOf(ctx, name)
	return nil
}

// letGoOf frees the name of a group that this node does not keep.
func (k *Keeper) letGoOf(ctx context.Context, name string) {
	if _, err := k.groups.Get(name); err == nil {
		return
	}
	k.names.forget(name)
	k.place.Ambiguous(k.names.ambiguous())
	m, err := k.rt.Cluster()
	if err != nil {
		return // there is none
	}
	if err := m.ReleaseGroup(ctx, name); err != nil {
		k.logger.Warn("the directory still has the name of a group that is gone; it is removed later", "group", name, "error", err)
	}
}

// claimName makes the name of a group that this node keeps its own in the cluster's
// directory, where it is not, and returns which other node has it; 0: none is known to.
func (k *Keeper) claimName(ctx context.Context, name string) identity.NodeID {
	m, err := k.rt.Cluster()
	if err != nil {
		return 0
	}
	if _, err := k.groups.Get(name); err != nil || slices.Contains(m.Keeps(k.mesh.Self()), name) {
		return 0
	}
	err = m.ClaimGroup(ctx, name)
	var taken *directory.GroupTakenError
	if errors.As(err, &taken) {
		return taken.Keeper
	}
	if err != nil {
		k.logger.Debug("the directory does not take the name of a group now", "group", name, "error", err)
	}
	return 0
}

// freeNames removes from the directory the names of groups that this node does not keep
// any more.
func (k *Keeper) freeNames(ctx context.Context) {
	m, err := k.rt.Cluster()
	if err != nil {
		return
	}
	for _, name := range m.Keeps(k.mesh.Self()) {
		if !k.names.isMade(name) {
			k.letGoOf(ctx, name)
		}
	}
}
