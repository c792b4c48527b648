package host

import (
	"context"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/sandbox"
	"wasmhost.example/host/registry"
)

// Kinds returns the node's kinds, with their modules and signatures.
func (r *Runtime) Kinds() *registry.Registry { return r.registry }

// RegisterFactory is Kinds().RegisterFactory: it makes the runtime able to make daemons of
// the kind by f.
func (r *Runtime) RegisterFactory(name string, f daemon.Factory) error {
	return r.registry.RegisterFactory(name, f)
}

// registry says what the registry of a node of these options is made of; limits are the
// node's.
func (o *Options) registry(limits daemon.Limits) registry.Config {
	return registry.Config{
		Engine:   sandbox.Config{CacheDir: o.CacheDir, ModuleBytes: limits.ModuleBytes, Index: o.Compiler != nil},
		Compiler: o.Compiler, CompileLimits: o.CompileLimits, RefuseModules: o.RefuseModules, ModuleKeys: o.ModuleKeys,
	}
}

// registryNodeOf is the node as its registry sees it.
type registryNodeOf struct{ rt *Runtime }

func (o registryNodeOf) Open() error { return o.rt.open() }

func (o registryNodeOf) Ready() error { return o.rt.ready() }

func (o registryNodeOf) CountKind(kind string) int { return o.rt.table.CountKind(kind) }

func (o registryNodeOf) Registered(kind string) { o.rt.meters.of(kind) }

func (o registryNodeOf) ApplyLimits(ctx context.Context, kind string, before daemon.Limits, change map[string]int64) (int, []registry.KeptLimits) {
	return o.rt.applyKindLimits(ctx, kind, before, change)
}
