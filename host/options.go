package host

import (
	"fmt"
	"slices"

	"wasmhost.example/identity"
)

// OptionsError says why New refuses Options: no runtime could work with them.
type OptionsError struct {
	Field string // of Options, such as "Mesh"
	Why   string
}

func (e *OptionsError) Error() string { return fmt.Sprintf("host.Options.%s: %s", e.Field, e.Why) }

// check returns nil, ErrBadLimit, an *UnfitError or an *OptionsError. The node's key is drawn already.
func (o *Options) check() error {
	if err := o.Limits.Validate(); err != nil {
		return err
	}
	if err := o.Limits.Fit(); err != nil {
		return err
	}
	for _, check := range []func() error{o.checkMesh, o.checkCluster, o.checkIdle} {
		if err := check(); err != nil {
			return err
		}
	}
	switch l := o.CompileLimits; {
	case !o.Node.CanSign():
		return &OptionsError{"Node", "has no private key, and a node signs"}
	case l.Memory < 0 || l.CPU < 0 || l.Wall < 0:
		return &OptionsError{"CompileLimits", "has a negative field; 0 means the default"}
	case o.TokenSkew < 0 || o.TokenSkew > identity.MaxTokenSkew:
		return &OptionsError{"TokenSkew", fmt.Sprintf("is %v; it must be between 0 and %v", o.TokenSkew, identity.MaxTokenSkew)}
	case o.Compiler != nil && o.CacheDir == "":
		return &OptionsError{"Compiler", "needs a CacheDir, where it leaves the code"}
	case slices.Contains(o.ModuleKeys, identity.EntityID{}):
		return &OptionsError{"ModuleKeys", "has a key of zeros, which signs nothing"}
	}
	return nil
}

// checkMesh: peers seal daemons' keys to the node that the mesh is, and its handler is
// the one runtime that answers them.
func (o *Options) checkMesh() error {
	if o.Mesh == nil {
		return nil
	}
	if mesh, node := o.Mesh.Self(), o.Node.ID().Node(); mesh != node {
		return &OptionsError{"Mesh", fmt.Sprintf("is that of node %s, and Node is %s", mesh, node)}
	}
	if o.Mesh.Handled() {
		return &OptionsError{"Mesh", "has a handler already: another runtime answers its peers"}
	}
	return nil
}

func (o *Options) checkCluster() error {
	switch {
	case o.Cluster == nil:
		return nil
	case o.Cluster.Member == nil:
		return &OptionsError{"Cluster", "has no Member"}
	case o.Store == nil || o.Mesh == nil:
		return &OptionsError{"Cluster", "needs a Store and a Mesh"}
	case o.Cluster.Member.Self().Key != o.Node.ID():
		return &OptionsError{"Cluster", fmt.Sprintf("has the member of node %s, and Node is %s", o.Cluster.Member.Self().Key.Node(), o.Node.ID().Node())}
	case o.Cluster.Lag < 0:
		return &OptionsError{"Cluster", fmt.Sprintf("has a Lag of %v; it must be 0, the default, or more", o.Cluster.Lag)}
	}
	return nil
}

func (o *Options) checkIdle() error {
	switch {
	case o.PassivateAfter < 0:
		return &OptionsError{"PassivateAfter", fmt.Sprintf("is %v; it must be 0, for never, or more", o.PassivateAfter)}
	case o.ActiveBytes < 0:
		return &OptionsError{"ActiveBytes", fmt.Sprintf("is %d; it must be 0, for no bound, or more", o.ActiveBytes)}
	case o.Store == nil && o.PassivateAfter > 0:
		return &OptionsError{"PassivateAfter", "needs a Store, where daemons go that leave memory"}
	case o.Store == nil && o.ActiveBytes > 0:
		return &OptionsError{"ActiveBytes", "needs a Store, where daemons go that leave memory"}
	}
	return nil
}

// fill sets a field that is not set.
func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
