package host

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"wasmhost.example/abi"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/guest"
	"wasmhost.example/host/internal/sandbox"
	"wasmhost.example/host/store"
	"wasmhost.example/internal/canon"
)

// kind is a name under which the runtime makes daemons.
type kind struct {
	name    string
	factory daemon.Factory
	digest  []byte // of its module; nil for a native factory
	size    int64
	pushed  time.Time
	report  *abi.Report
	limits  daemon.Limits // of its daemons, where set
}

// KindInfo is what a kind is.
type KindInfo struct {
	Name    string
	Digest  string // of the module, hexadecimal; empty for a native kind
	Size    int64  // of the module, bytes
	Pushed  time.Time
	Daemons int           // of this kind, on this node
	Report  *abi.Report   // nil for a native kind
	Limits  daemon.Limits // of the kind's own
}

// kindRecord is how the store keeps a kind.
type kindRecord struct {
	_      struct{} `cbor:",toarray"`
	Digest []byte
	Size   int64
	Pushed int64
	Limits map[string]int64
}

// RegisterFactory makes the runtime able to make daemons of the kind by f. A
// kind that is registered already keeps its factory: KindError with
// ErrKindExists.
func (r *Runtime) RegisterFactory(name string, f daemon.Factory) error {
	if err := r.open(); err != nil {
		return err
	}
	if err := daemon.ValidName(name); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.kinds[name]; ok {
		return &daemon.KindError{Kind: name, Err: daemon.ErrKindExists}
	}
	r.kinds[name] = &kind{name: name, factory: f, pushed: r.env.Clock()}
	r.meters.of(name)
	return nil
}

// PushKind is PushKindWith limits that the kind had, or none.
func (r *Runtime) PushKind(ctx context.Context, name string, wasm []byte) (KindInfo, error) {
	r.mu.RLock()
	var own daemon.Limits
	if k := r.kinds[name]; k != nil {
		own = k.limits
	}
	r.mu.RUnlock()
	return r.PushKindWith(ctx, name, wasm, own)
}

// PushKindWith makes the module the kind's, and own the limits of daemons
// spawned from now on, where they are set. The kind's daemons keep the module
// and the limits that they were spawned with. Limits that do not fit one another are an
// *UnfitError, a module that is not accepted an *abi.Refusal or a *CompileError, and
// nothing changes.
func (r *Runtime) PushKindWith(ctx context.Context, name string, wasm []byte, own daemon.Limits) (KindInfo, error) {
	if err := own.ValidateOwn(); err != nil {
		return KindInfo{}, err
	}
	if err := own.FitOn(r.env.Limits); err != nil {
		return KindInfo{}, err
	}
	if err := r.open(); err != nil {
		return KindInfo{}, err
	}
	if err := daemon.ValidName(name); err != nil {
		return KindInfo{}, err
	}
	r.mu.RLock()
	old := r.kinds[name]
	r.mu.RUnlock()
	if old != nil && old.digest == nil {
		return KindInfo{}, &daemon.KindError{Kind: name, Err: daemon.ErrKindExists}
	}
	m, err := r.addModule(ctx, wasm, own.Over(r.env.Limits).MemoryBytes, false)
	if err != nil {
		return KindInfo{}, err
	}
	if err := r.setKind(name, m, int64(len(wasm)), own); err != nil {
		return KindInfo{}, err
	}
	return r.Kind(name)
}

// setKind durably makes m the kind's module.
func (r *Runtime) setKind(name string, m *sandbox.Module, size int64, own daemon.Limits) error {
	digest := m.Digest()
	k := &kind{name: name, factory: guest.NewFactory(m), digest: digest[:], size: size, pushed: r.env.Clock(), report: m.Report(), limits: own}
	if err := r.putKind(k); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kinds[name] = k
	r.meters.of(name)
	r.env.Notify(daemon.Notification{Topic: daemon.KindPushed, Kind: name})
	return nil
}

// putKind stores what a kind is. One that the program registers is not stored.
func (r *Runtime) putKind(k *kind) error {
	if r.env.Store == nil || k.digest == nil {
		return nil
	}
	rec, err := canon.Marshal(&kindRecord{Digest: k.digest, Size: k.size, Pushed: k.pushed.UnixNano(), Limits: k.limits.Map()})
	if err != nil {
		return err
	}
	var b store.Batch
	b.Put(store.Kinds, []byte(k.name), rec)
	if err := r.env.Store.Commit(&b); err != nil {
		return fmt.Errorf("storing kind %q: %w", k.name, err)
	}
	return nil
}

// module returns the compiled module, from the store where it must.
func (r *Runtime) module(ctx context.Context, digest store.Digest) (*sandbox.Module, error) {
	r.mu.RLock()
	m := r.modules[digest]
	r.mu.RUnlock()
	if m != nil {
		return m, nil
	}
	wasm, err := r.Module(ctx, digest)
	if err != nil {
		return nil, err
	}
	return r.addModule(ctx, wasm, daemon.MaxMemoryBytes, true) // it was let in once
}

// Module returns the bytes of a module that is kept here, which the caller does not
// change; an error that wraps ErrModuleNotFound where it is not.
func (r *Runtime) Module(_ context.Context, digest [32]byte) ([]byte, error) {
	if r.env.Store == nil {
		r.mu.RLock()
		defer r.mu.RUnlock()
		wasm, ok := r.wasm[digest]
		if !ok {
			return nil, fmt.Errorf("%w: %x", daemon.ErrModuleNotFound, digest)
		}
		return wasm, nil
	}
	wasm, err := r.env.Store.Module(digest)
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("%w: %x", daemon.ErrModuleNotFound, digest)
	}
	return wasm, err
}

// AddModule keeps a module that is no kind's, so that daemons can be upgraded to it. Its
// errors are those of PushKind.
func (r *Runtime) AddModule(ctx context.Context, wasm []byte) error {
	if err := r.ready(); err != nil {
		return err
	}
	if int64(len(wasm)) > r.env.Limits.ModuleBytes {
		return fmt.Errorf("%w: a module of %d bytes, at most %d", daemon.ErrTooLarge, len(wasm), r.env.Limits.ModuleBytes)
	}
	_, err := r.addModule(ctx, wasm, r.env.Limits.MemoryBytes, false)
	return err
}

// TakesModules returns how many bytes a module of another node may have; 0: the runtime
// takes none.
func (r *Runtime) TakesModules() int64 {
	if r.refuse {
		return 0
	}
	return r.env.Limits.ModuleBytes
}

// RemoveKind forgets the kind. Daemons of it keep it: ErrKindInUse.
func (r *Runtime) RemoveKind(_ context.Context, name string) error {
	if err := r.open(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	k, ok := r.kinds[name]
	if !ok {
		return &daemon.KindError{Kind: name, Err: daemon.ErrKindNotFound}
	}
	if r.table.CountKind(name) > 0 {
		return &daemon.KindError{Kind: name, Err: daemon.ErrKindInUse}
	}
	if r.env.Store != nil && k.digest != nil {
		var b store.Batch
		b.Delete(store.Kinds, []byte(name))
		if err := r.env.Store.Commit(&b); err != nil {
			return fmt.Errorf("forgetting kind %q: %w", name, err)
		}
	}
	delete(r.kinds, name)
	r.env.Notify(daemon.Notification{Topic: daemon.KindRemoved, Kind: name})
	return nil
}

// Kinds returns all kinds, by name.
func (r *Runtime) Kinds() []KindInfo {
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := make([]KindInfo, 0, len(r.kinds))
	for _, k := range r.kinds {
		out = append(out, r.kindInfo(k))
	}
	slices.SortFunc(out, func(a, b KindInfo) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Kind returns one kind, or a KindError with ErrKindNotFound.
func (r *Runtime) Kind(name string) (KindInfo, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	k, ok := r.kinds[name]
	if !ok {
		return KindInfo{}, &daemon.KindError{Kind: name, Err: daemon.ErrKindNotFound}
	}
	return r.kindInfo(k), nil
}

// kindInfo needs r.mu.
func (r *Runtime) kindInfo(k *kind) KindInfo {
	return KindInfo{Name: k.name, Digest: hex.EncodeToString(k.digest), Size: k.size, Pushed: k.pushed, Report: k.report, Limits: k.limits, Daemons: r.table.CountKind(k.name)}
}

// factory returns what makes daemons of the kind with the module of that
// digest; a nil digest means the kind's own.
func (r *Runtime) factory(ctx context.Context, name string, digest []byte) (daemon.Factory, []byte, error) {
	r.mu.RLock()
	k := r.kinds[name]
	r.mu.RUnlock()
	if len(digest) == 32 && (k == nil || !slices.Equal(k.digest, digest)) {
		m, err := r.module(ctx, store.Digest(digest))
		if err != nil {
			return nil, nil, err
		}
		return guest.NewFactory(m), digest, nil
	}
	if k == nil {
		return nil, nil, &daemon.KindError{Kind: name, Err: daemon.ErrKindNotFound}
	}
	return k.factory, k.digest, nil
}
