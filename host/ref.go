package host

import (
	"fmt"
	"slices"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/internal/table"
	"wasmhost.example/identity"
)

// Resolve returns the daemon that a reference names, also one that moved away. Errors:
// ErrBadRef, ErrNotFound, *AmbiguousError where several are named alike, and
// ErrNotReady while daemons are being recovered.
func (r Daemons) Resolve(text string) (identity.EntityID, error) {
	ref, err := daemon.ParseRef(text)
	if err != nil {
		return identity.EntityID{}, err
	}
	return r.rt.Daemons().ResolveRef(ref)
}

// ResolveRef is Resolve of a parsed reference. A whole entity id is returned whether
// the daemon is known or not.
func (r Daemons) ResolveRef(ref daemon.Ref) (identity.EntityID, error) {
	if r.rt.life.Load() == lifeRegistering {
		return identity.EntityID{}, daemon.ErrNotReady
	}
	if id, ok := ref.Entity(); ok {
		return id, nil
	}

	entry := table.OriginEntry(ref.Origin())
	if name, ok := ref.Name(); ok {
		if err := daemon.ValidName(name); err != nil {
			return identity.EntityID{}, fmt.Errorf("%w: %w", daemon.ErrBadRef, err)
		}

		if id, here := r.rt.table.Named(name); here {
			return id, nil
		}
		entry = table.NameEntry(name)
	}

	found, err := r.rt.matching(ref.Names, func() ([]identity.EntityID, error) { return r.rt.movedAs(entry, ref.Names) })
	if err != nil {
		return identity.EntityID{}, err
	}
	if len(found) == 0 {
		if err := r.rt.ready(); err != nil {
			return identity.EntityID{}, err
		}
		return identity.EntityID{}, fmt.Errorf("%w: %q", daemon.ErrNotFound, ref)
	}
	return onlyOne(ref.String(), found)
}

// BegunBy returns the daemons that this node knows whose origin or entity id
// begins with text, of at least four hexadecimal digits. It is for commands that look:
// what changes something takes whole references. Errors: ErrBadRef, ErrNotReady.
func (r Daemons) BegunBy(text string) ([]identity.EntityID, error) {
	if r.rt.life.Load() == lifeRegistering {
		return nil, daemon.ErrNotReady
	}
	if err := daemon.ValidPrefix(text); err != nil {
		return nil, err
	}
	begun := func(id identity.EntityID, _ string) bool { return daemon.BeginsID(id, text) }
	return r.rt.matching(begun, func() ([]identity.EntityID, error) { return r.rt.movedBegunBy(text, begun) })
}

// matching returns the daemons that match holds of, by id: those that are here, those
// that moved says left, and, where there are none, those that the cluster's directory
// lists.
func (r *Runtime) matching(match func(identity.EntityID, string) bool, moved func() ([]identity.EntityID, error)) ([]identity.EntityID, error) {
	var out []identity.EntityID
	for _, d := range r.table.Daemons() {
		if match(d.Entity(), d.Name()) {
			out = append(out, d.Entity())
		}
	}
	gone, err := moved()
	if err != nil {
		return nil, err
	}
	if out = append(out, gone...); len(out) == 0 && r.cluster != nil {
		r.cluster.Directory().Named(func(e directory.Entry) bool {
			if match(e.Entity, e.Name) {
				out = append(out, e.Entity)
			}
			return false
		})
	}
	slices.SortFunc(out, identity.EntityID.Compare)
	return slices.Compact(out), nil
}

// onlyOne returns the only daemon of found, which is not empty; *AmbiguousError.
func onlyOne(text string, found []identity.EntityID) (identity.EntityID, error) {
	if len(found) > 1 {
		return identity.EntityID{}, &daemon.AmbiguousError{Ref: text, Matches: found}
	}
	return found[0], nil
}
