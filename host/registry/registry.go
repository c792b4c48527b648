// Package registry holds a node's kinds: the names under which it makes daemons, the modules
// behind them, who signed these, and their compiling, in other processes where the program
// that embeds a node can start some.
package registry

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/env"
	"wasmhost.example/host/internal/lock"
	"wasmhost.example/host/internal/sandbox"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// Registry holds a node's kinds, the modules that they and their daemons run, and the
// signatures of these. It is safe for concurrent use.
type Registry struct {
	env        *env.Env
	node       Node
	engine     *sandbox.Engine
	refuse     bool                // modules of peers
	moduleKeys []identity.EntityID // one of which must have signed a module; none: no signature is asked for

	mu         lock.RWMutex[lock.Registry] // guards the maps; never held while user code runs
	kinds      map[string]*kind
	modules    map[store.Digest]*sandbox.Module
	wasm       map[store.Digest][]byte          // of modules, where there is no store: what a daemon that moves takes along
	signatures map[[32]byte][]identity.EntityID // of modules, where there is no store

	compiles *compiles
}

// Config says what a Registry is made of, beyond its environment.
type Config struct {
	Engine        sandbox.Config
	Compiler      Compiler // nil: modules are compiled in this process
	CompileLimits CompileLimits
	RefuseModules bool                // of peers
	ModuleKeys    []identity.EntityID // Options.ModuleKeys; not changed afterwards
}

// Node is what a Registry asks of the node that has it. Its methods may be called under
// the registry's lock, but for ApplyLimits.
type Node interface {
	// Open returns nil unless the node shuts down; Ready, unless it also has not started.
	Open() error
	Ready() error

	// CountKind returns how many daemons of the kind the node has.
	CountKind(kind string) int

	// Registered tells the node that there is a kind of this name.
	Registered(kind string)

	// ApplyLimits gives the daemons of a kind a change of its limits; before are those that
	// it had. It is called under no lock, and returns how many daemons took the change, and
	// which did not.
	ApplyLimits(ctx context.Context, kind string, before daemon.Limits, change map[string]int64) (changed int, kept []KeptLimits)
}

// New makes the registry of a node, which calls Close when nothing uses its modules any
// more.
func New(ctx context.Context, e *env.Env, node Node, c Config) (*Registry, error) {
	engine, err := sandbox.NewEngine(ctx, c.Engine)
	if err != nil {
		return nil, err
	}

	return &Registry{
		env: e, node: node, engine: engine, refuse: c.RefuseModules, moduleKeys: slices.Clone(c.ModuleKeys),
		kinds: make(map[string]*kind), modules: make(map[store.Digest]*sandbox.Module), wasm: make(map[store.Digest][]byte),
		signatures: make(map[[32]byte][]identity.EntityID), compiles: newCompiles(&c),
	}, nil
}

// Close frees the code of all modules.
func (r *Registry) Close(ctx context.Context) error { return r.engine.Close(ctx) }

// kind returns the kind of that name; nil where there is none.
func (r *Registry) kind(name string) *kind {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.kinds[name]
}

// Knows reports whether there is a kind of that name.
func (r *Registry) Knows(name string) bool { return r.kind(name) != nil }

// LimitsOf returns the limits of the kind's own; none where there is no such kind.
func (r *Registry) LimitsOf(name string) daemon.Limits {
	if k := r.kind(name); k != nil {
		return k.limits
	}
	return daemon.Limits{}
}

// IsNative reports whether the kind is the program's own; false where there is no such
// kind.
func (r *Registry) IsNative(name string) bool {
	k := r.kind(name)
	return k != nil && k.digest == nil
}

// Has reports whether the module is kept here.
func (r *Registry) Has(digest [32]byte) bool {
	if r.loaded(digest) != nil {
		return true
	}
	if r.env.Store == nil {
		return false
	}
	_, err := r.env.Store.Module(digest)
	return err == nil
}

// WantsEarlier reports whether a module that daemons may be rolled back to is to be sent
// here: it is not here, and this node's rules let a peer's module of size bytes in.
func (r *Registry) WantsEarlier(ctx context.Context, digest [32]byte, size uint64) bool {
	if r.refuse || size == 0 || size > uint64(r.env.Limits.ModuleBytes) {
		return false
	}
	if err := r.MayRun(digest); err != nil {
		r.env.Logger.Warn("a daemon's previous module is not taken: the daemon cannot be rolled back here", "module", fmt.Sprintf("%x", digest[:6]), "error", err)
		return false
	}

	_, err := r.Module(ctx, digest)
	return errors.Is(err, daemon.ErrModuleNotFound)
}

// LatestModule names the module that a kind has now.
const LatestModule = "latest"

// ModuleNamed returns the digest of the kind's module that version names: its whole
// digest in hexadecimal, or "latest". ErrModuleNotFound where there is no such module.
func (r *Registry) ModuleNamed(kind, version string) ([32]byte, error) {
	if version == LatestModule {
		k := r.kind(kind)
		if k == nil || len(k.digest) != 32 {
			return [32]byte{}, &daemon.KindError{Kind: kind, Err: daemon.ErrKindNotFound}
		}
		return [32]byte(k.digest), nil
	}

	var want [32]byte
	if n, err := hex.Decode(want[:], []byte(version[:min(len(version), 2*len(want))])); err != nil || n != len(want) || len(version) != 2*n {
		return [32]byte{}, fmt.Errorf("%w: %q; write its whole digest, 64 hexadecimal digits, or latest", daemon.ErrModuleNotFound, version)
	}

	known := r.loaded(want) != nil
	if !known && r.env.Store != nil {
		stored, err := r.env.Store.Modules()
		if err != nil {
			return [32]byte{}, err
		}
		known = slices.Contains(stored, store.Digest(want))
	}

	if !known {
		return [32]byte{}, fmt.Errorf("%w: %q", daemon.ErrModuleNotFound, version)
	}
	return want, nil
}
