package registry

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

// RegisterFactory makes the node able to make daemons of the kind by f. It may be
// called before Start and after, by several goroutines. A kind that is registered already
// keeps its factory: KindError with ErrKindExists. A factory that is nil is a KindError
// with ErrNilFactory, a name that no kind can have ErrBadName.
func (r *Registry) RegisterFactory(name string, f daemon.Factory) error {
	if err := r.node.Open(); err != nil {
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
	r.node.Registered(name)
	return nil
}

// isNilFactory reports whether f makes nothing: it is nil, or a FactoryFunc that is.
func isNilFactory(f daemon.Factory) bool {
	fn, ok := f.(daemon.FactoryFunc)
	return f == nil || ok && fn == nil
}

// Push is PushWith limits that the kind had, or none.
func (r *Registry) Push(ctx context.Context, name string, wasm []byte) (KindInfo, error) {
	return r.PushWith(ctx, name, wasm, r.LimitsOf(name))
}

// PushWith makes the module the kind's, and own the limits of daemons
// spawned from now on, where they are set. The kind's daemons keep the module
// and the limits that they were spawned with. Limits that do not fit one another are an
// *UnfitError, a module that is not accepted an *abi.Refusal or a *CompileError, and
// nothing changes.
func (r *Registry) PushWith(ctx context.Context, name string, wasm []byte, own daemon.Limits) (KindInfo, error) {
	if err := own.ValidateOwn(); err != nil {
		return KindInfo{}, err
	}
	if err := own.FitOn(r.env.Limits); err != nil {
		return KindInfo{}, err
	}
	if err := r.node.Open(); err != nil {
		return KindInfo{}, err
	}
	if err := daemon.ValidKind(name); err != nil {
		return KindInfo{}, err
	}
	if r.IsNative(name) {
		return KindInfo{}, &daemon.KindError{Kind: name, Err: daemon.ErrKindExists}
	}

	m, err := r.Add(ctx, wasm, own.Over(r.env.Limits).MemoryBytes, false)
	if err != nil {
		return KindInfo{}, err
	}
	if err := r.SetModule(name, m, int64(len(wasm)), own); err != nil {
		return KindInfo{}, err
	}

	return r.Get(name)
}

// SetModule durably makes m the kind's module.
func (r *Registry) SetModule(name string, m *sandbox.Module, size int64, own daemon.Limits) error {
	digest := m.Digest()
	k := &kind{name: name, factory: guest.NewFactory(m), digest: digest[:], size: size, pushed: r.env.Clock(), report: m.Report(), limits: own}
	if err := r.putKind(k); err != nil {
		return err
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	r.kinds[name] = k
	r.node.Registered(name)
	r.env.Notify(daemon.Notification{Topic: daemon.KindPushed, Kind: name})
	return nil
}

// putKind stores what a kind is. One that the program registers is not stored.
func (r *Registry) putKind(k *kind) error {
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

// Compiled returns the compiled module, from the store where it must.
func (r *Registry) Compiled(ctx context.Context, digest store.Digest) (*sandbox.Module, error) {
	if m := r.loaded(digest); m != nil {
		return m, nil
	}
	wasm, err := r.Module(ctx, digest)
	if err != nil {
		return nil, err
	}
	return r.Add(ctx, wasm, daemon.MaxMemoryBytes, true) // it was let in once
}

// Module returns the bytes of a module that is kept here, which the caller does not
// change; an error that wraps ErrModuleNotFound where it is not.
func (r *Registry) Module(_ context.Context, digest [32]byte) ([]byte, error) {
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
// errors are those of Push.
func (r *Registry) AddModule(ctx context.Context, wasm []byte) error {
	if err := r.node.Ready(); err != nil {
		return err
	}
	if int64(len(wasm)) > r.env.Limits.ModuleBytes {
		return fmt.Errorf("%w: a module of %d bytes, at most %d", daemon.ErrTooLarge, len(wasm), r.env.Limits.ModuleBytes)
	}
	_, err := r.Add(ctx, wasm, r.env.Limits.MemoryBytes, false)
	return err
}

// TakesModules returns how many bytes a module of another node may have; 0: the runtime
// takes none.
func (r *Registry) TakesModules() int64 {
	if r.refuse {
		return 0
	}
	return r.env.Limits.ModuleBytes
}

// Remove forgets the kind. Daemons of it keep it: ErrKindInUse.
func (r *Registry) Remove(_ context.Context, name string) error {
	if err := r.node.Open(); err != nil {
		return err
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	k, ok := r.kinds[name]
	if !ok {
		return &daemon.KindError{Kind: name, Err: daemon.ErrKindNotFound}
	}
	if r.node.CountKind(name) > 0 {
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

// List returns all kinds, by name. Once the node is shutting down there are none.
func (r *Registry) List() []KindInfo {
	if r.node.Open() != nil {
		return nil
	}

	r.mu.RLock()
	defer r.mu.RUnlock()
	out := make([]KindInfo, 0, len(r.kinds))
	for _, k := range r.kinds {
		out = append(out, r.kindInfo(k))
	}

	slices.SortFunc(out, func(a, b KindInfo) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Get returns one kind, or a KindError with ErrKindNotFound.
func (r *Registry) Get(name string) (KindInfo, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	k, ok := r.kinds[name]
	if !ok {
		return KindInfo{}, &daemon.KindError{Kind: name, Err: daemon.ErrKindNotFound}
	}
	return r.kindInfo(k), nil
}

// kindInfo needs r.mu.
func (r *Registry) kindInfo(k *kind) KindInfo {
	return KindInfo{Name: k.name, Digest: hex.EncodeToString(k.digest), Size: k.size, Pushed: k.pushed, Report: k.report, Limits: k.limits, Daemons: r.node.CountKind(k.name)}
}

// Factory returns what makes daemons of the kind with the module of that
// digest; a nil digest means the kind's own.
func (r *Registry) Factory(ctx context.Context, name string, digest []byte) (daemon.Factory, []byte, error) {
	k := r.kind(name)
	if len(digest) == 32 && (k == nil || !slices.Equal(k.digest, digest)) {
		m, err := r.Compiled(ctx, store.Digest(digest))
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

// Recover brings back the kinds that the store holds. One whose module cannot be had is
// left out, and logged.
func (r *Registry) Recover(ctx context.Context) error {
	records := make(map[string]kindRecord)
	err := r.env.Store.Scan(store.Kinds, func(k, v []byte) error {
		var rec kindRecord
		if err := canon.Unmarshal(v, &rec); err != nil || len(rec.Digest) != 32 {
			return fmt.Errorf("%w: kind %q: %w", store.ErrCorrupt, k, err)
		}
		records[string(k)] = rec
		return nil
	})
	if err != nil {
		return err
	}

	for name, rec := range records {
		m, err := r.Compiled(ctx, store.Digest(rec.Digest))
		if err != nil {
			r.env.Logger.Error("a kind cannot be brought back", "kind", name, "error", err)
			continue
		}

		own, err := daemon.StoredLimits(rec.Limits)
		if err != nil {
			return fmt.Errorf("%w: kind %q: %w", store.ErrCorrupt, name, err)
		}

		r.mu.Lock()
		if _, ok := r.kinds[name]; !ok {
			r.node.Registered(name)
			r.kinds[name] = &kind{name: name, factory: guest.NewFactory(m), digest: rec.Digest, size: rec.Size,
				pushed: time.Unix(0, rec.Pushed), report: m.Report(), limits: own}
		}
		r.mu.Unlock()
	}

	return nil
}
