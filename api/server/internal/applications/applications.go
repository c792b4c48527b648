// Package applications remembers what wasmhost apply made, so that all who apply to a node
// agree on what an application has.
package applications

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"

	"wasmhost.example/api"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/api/server/problem"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/store"
	"wasmhost.example/internal/canon"
)

// Bounds on what is remembered.
const (
	maxApplications = 256  // of a node
	maxAppliedName  = 1024 // bytes of the name of what was made
)

var keys = []byte("application/")

// record is how the store keeps an application, in store.Meta.
type record struct {
	_        struct{} `cbor:",toarray"`
	Revision uint64
	Made     []applied
}

type applied struct {
	_          struct{} `cbor:",toarray"`
	Type, Name string
}

// Keeper remembers the applications of a node. It is safe for concurrent use once Load was
// called.
type Keeper struct {
	store *store.Store // nil: they are forgotten when the node ends

	mu     sync.Mutex
	byName map[string]api.Application
}

// Load makes the keeper know the applications that st holds, and keep there what changes.
func (k *Keeper) Load(st *store.Store) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.store, k.byName = st, make(map[string]api.Application)
	return st.ScanPrefix(store.Meta, keys, func(key, value []byte) error {
		var rec record
		if err := canon.Unmarshal(value, &rec); err != nil {
			return fmt.Errorf("%w: application %q: %w", store.ErrCorrupt, key, err)
		}
		app := api.Application{Name: string(key[len(keys):]), Revision: rec.Revision, Made: []api.Applied{}}
		for _, m := range rec.Made {
			app.Made = append(app.Made, api.Applied{Type: m.Type, Name: m.Name})
		}
		k.byName[app.Name] = app
		return nil
	})
}

// GetAll answers with a page of the applications.
func (k *Keeper) GetAll(w http.ResponseWriter, r *http.Request) error {
	k.mu.Lock()
	out := slices.Collect(maps.Values(k.byName))
	k.mu.Unlock()
	slices.SortFunc(out, func(a, b api.Application) int { return cmp.Compare(a.Name, b.Name) })
	return web.WritePage(w, r, out, func(a api.Application) string { return a.Name })
}

// Get answers with one application.
func (k *Keeper) Get(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("application")
	k.mu.Lock()
	app, ok := k.byName[name]
	k.mu.Unlock()
	if !ok {
		return fmt.Errorf("%w: %q", problem.ErrNoApplication, name)
	}
	return web.WriteJSON(w, app)
}

// Put remembers an application in the place of the revision that the request names.
func (k *Keeper) Put(w http.ResponseWriter, r *http.Request) error {
	var req api.Application
	if err := web.ReadJSON(w, r, &req); err != nil {
		return err
	}
	if req.Name != r.PathValue("application") {
		return fmt.Errorf("%w: the path names application %q, the body %q", api.ErrBadRequest, r.PathValue("application"), req.Name)
	}
	app, err := k.put(req)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, app)
}

func (k *Keeper) put(app api.Application) (api.Application, error) {
	if err := check(app); err != nil {
		return app, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.byName[app.Name]
	if now.Revision != app.Revision {
		return app, fmt.Errorf("%w: application %q is at revision %d, not %d", problem.ErrApplicationChanged, app.Name, now.Revision, app.Revision)
	}
	if len(k.byName) >= maxApplications && now.Revision == 0 {
		return app, fmt.Errorf("%w: %d", problem.ErrTooManyApplications, len(k.byName))
	}
	app.Revision++
	app.Made = slices.Compact(slices.SortedFunc(slices.Values(app.Made), func(a, b api.Applied) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name))
	}))
	if err := k.keep(app); err != nil {
		return app, err
	}
	if k.byName == nil {
		k.byName = make(map[string]api.Application)
	}
	k.byName[app.Name] = app
	if len(app.Made) == 0 {
		delete(k.byName, app.Name)
	}
	return app, nil
}

// keep needs k.mu.
func (k *Keeper) keep(app api.Application) error {
	if k.store == nil {
		return nil
	}
	rec := record{Revision: app.Revision, Made: []applied{}}
	for _, m := range app.Made {
		rec.Made = append(rec.Made, applied{Type: m.Type, Name: m.Name})
	}
	value, err := canon.Marshal(&rec)
	if err != nil {
		return err
	}
	b, key := &store.Batch{}, append(bytes.Clone(keys), app.Name...)
	if len(app.Made) == 0 {
		b.Delete(store.Meta, key)
	} else {
		b.Put(store.Meta, key, value)
	}
	if err := k.store.Commit(b); err != nil {
		return fmt.Errorf("storing application %q: %w", app.Name, err)
	}
	return nil
}

// check returns nil where the application can be remembered.
func check(app api.Application) error {
	if err := daemon.ValidName(app.Name); err != nil {
		return err
	}
	if len(app.Made) > api.MaxApplied {
		return fmt.Errorf("%w: application %q made %d things, at most %d", api.ErrBadRequest, app.Name, len(app.Made), api.MaxApplied)
	}
	for _, m := range app.Made {
		if !slices.Contains([]string{"kind", "channel", "daemon", "group", "grant"}, m.Type) || m.Name == "" || len(m.Name) > maxAppliedName {
			return fmt.Errorf("%w: application %q made %q %q", api.ErrBadRequest, app.Name, m.Type, m.Name)
		}
	}
	return nil
}
