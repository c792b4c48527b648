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

// RegisterFactory makes the runtime able to make daemons of the kind by f. It may be
// called before Start and after, by several goroutines. A kind that is registered already
// keeps its factory: KindError with ErrKindExists. A factory that is nil is a KindError
// with ErrNilFactory, a name that no kind can have ErrBadName.
func (r *Runtime) RegisterFactory(name string, f daemon.Factory) error {
	if err := r.open(); err != nil {
		return err
	}
	if err := daemon.ValidKind(name); err != nil {
		return err
	}
	if isNilFactory(f) {
		return &daemon.KindError{Kind: name, Err: daemon.ErrNilFactory}
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

// isNilFactory reports whether f makes nothing: it is nil, or a FactoryFunc that is.
func isNilFactory(f daemon.Factory) bool {
	fn, ok := f.(daemon.FactoryFunc)
	return f == nil || ok && fn == nil
}

// Push is Kinds.PushWith limits that the kind had, or none.
func (r Kinds) Push(ctx context.Context, name string, wasm []byte) (KindInfo, error) {
	r.rt.mu.RLock()
	var own daemon.Limits
	if k := r.rt.kinds[name]; k != nil {
		own = k.limits
	}
	r.rt.mu.RUnlock()
	return r.rt.Kinds().PushWith(ctx, name, wasm, own)
}

// PushWith makes the module the kind's, and own the limits of daemons
// spawned from now on, where they are set. The kind's daemons keep the module
// and the limits that they were spawned with. Limits that do not fit one another are an
// *UnfitError, a module that is not accepted an *abi.Refusal or a *CompileError, and
// nothing changes.
func (r Kinds) PushWith(ctx context.Context, name string, wasm []byte, own daemon.Limits) (KindInfo, error) {
	if err := own.ValidateOwn(); err != nil {
		return KindInfo{}, err
	}
	if err := own.FitOn(r.rt.env.Limits); err != nil {
		return KindInfo{}, err
	}
	if err := r.rt.open(); err != nil {
		return KindInfo{}, err
	}
	if err := daemon.ValidKind(name); err != nil {
		return KindInfo{}, err
	}
	r.rt.mu.RLock()
	old := r.rt.kinds[name]
	r.rt.mu.RUnlock()
	if old != nil && old.digest == nil {
		return KindInfo{}, &daemon.KindError{Kind: name, Err: daemon.ErrKindExists}
	}
	m, err := r.rt.addModule(ctx, wasm, own.Over(r.rt.env.Limits).MemoryBytes, false)
	if err != nil {
		return KindInfo{}, err
	}
	if err := r.rt.setKind(name, m, int64(len(wasm)), own); err != nil {
		return KindInfo{}, err
	}
	return r.rt.Kinds().Get(name)
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
	wasm, err := r.Kinds().Module(ctx, digest)
	if err != nil {
		return nil, err
	}
	return r.addModule(ctx, wasm, daemon.MaxMemoryBytes, true) // it was let in once
}

// Module returns the bytes of a module that is kept here, which the caller does not
// change; an error that wraps ErrModuleNotFound where it is not.
func (r Kinds) Module(_ context.Context, digest [32]byte) ([]byte, error) {
	if r.rt.env.Store == nil {
		r.rt.mu.RLock()
		defer r.rt.mu.RUnlock()
		wasm, ok := r.rt.wasm[digest]
		if !ok {
			return nil, fmt.Errorf("%w: %x", daemon.ErrModuleNotFound, digest)
		}
		return wasm, nil
	}
	wasm, err := r.rt.env.Store.Module(digest)
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("%w: %x", daemon.ErrModuleNotFound, digest)
	}
	return wasm, err
}

// AddModule keeps a module that is no kind's, so that daemons can be upgraded to it. Its
// errors are those of Kinds.Push.
func (r Kinds) AddModule(ctx context.Context, wasm []byte) error {
	if err := r.rt.ready(); err != nil {
		return err
	}
	if int64(len(wasm)) > r.rt.env.Limits.ModuleBytes {
		return fmt.Errorf("%w: a module of %d bytes, at most %d", daemon.ErrTooLarge, len(wasm), r.rt.env.Limits.ModuleBytes)
	}
	_, err := r.rt.addModule(ctx, wasm, r.rt.env.Limits.MemoryBytes, false)
	return err
}

// TakesModules returns how many bytes a module of another node may have; 0: the runtime
// takes none.
func (r Kinds) TakesModules() int64 {
	if r.rt.refuse {
		return 0
	}
	return r.rt.env.Limits.ModuleBytes
}

// Remove forgets the kind. Daemons of it keep it: ErrKindInUse.
func (r Kinds) Remove(_ context.Context, name string) error {
	if err := r.rt.open(); err != nil {
		return err
	}
	r.rt.mu.Lock()
	defer r.rt.mu.Unlock()
	k, ok := r.rt.kinds[name]
	if !ok {
		return &daemon.KindError{Kind: name, Err: daemon.ErrKindNotFound}
	}
	if r.rt.table.CountKind(name) > 0 {
		return &daemon.KindError{Kind: name, Err: daemon.ErrKindInUse}
	}
	if r.rt.env.Store != nil && k.digest != nil {
		var b store.Batch
		b.Delete(store.Kinds, []byte(name))
		if err := r.rt.env.Store.Commit(&b); err != nil {
			return fmt.Errorf("forgetting kind %q: %w", name, err)
		}
	}
	delete(r.rt.kinds, name)
	r.rt.env.Notify(daemon.Notification{Topic: daemon.KindRemoved, Kind: name})
	return nil
}

// List returns all kinds, by name. Once the runtime is shutting down there are none.
func (r Kinds) List() []KindInfo {
	if r.rt.open() != nil {
		return nil
	}

	r.rt.mu.RLock()
	defer r.rt.mu.RUnlock()
	out := make([]KindInfo, 0, len(r.rt.kinds))
	for _, k := range r.rt.kinds {
		out = append(out, r.rt.kindInfo(k))
	}
	slices.SortFunc(out, func(a, b KindInfo) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Get returns one kind, or a KindError with ErrKindNotFound.
func (r Kinds) Get(name string) (KindInfo, error) {
	r.rt.mu.RLock()
	defer r.rt.mu.RUnlock()
	k, ok := r.rt.kinds[name]
	if !ok {
		return KindInfo{}, &daemon.KindError{Kind: name, Err: daemon.ErrKindNotFound}
	}
	return r.rt.kindInfo(k), nil
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
