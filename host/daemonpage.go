package host

import (
	"cmp"
	"container/heap"
	"slices"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/identity"
)

// DaemonKey is where a daemon stands among those that Daemons lists.
type DaemonKey struct {
	Name   string
	Entity identity.EntityID
}

// Compare orders daemons by name, then identity.
func (k DaemonKey) Compare(other DaemonKey) int {
	if c := cmp.Compare(k.Name, other.Name); c != 0 {
		return c
	}
	return slices.Compare(k.Entity[:], other.Entity[:])
}

// After returns the first n of the daemons that this node answers for and that come
// after a key, in order; the zero key comes before all. A page costs little of what the
// whole list does.
func (r Daemons) After(after DaemonKey, n int) []daemon.Info {
	if n <= 0 {
		return nil
	}
	first := make(keyed, 0, min(n, 1024)) // the largest on top
	for _, d := range r.rt.table.Daemons() {
		switch k := (DaemonKey{d.Name(), d.Entity()}); {
		case k.Compare(after) <= 0:
		case len(first) < n:
			heap.Push(&first, keyedDaemon{k, d})
		case k.Compare(first[0].key) < 0:
			first[0] = keyedDaemon{k, d}
			heap.Fix(&first, 0)
		}
	}
	slices.SortFunc(first, func(a, b keyedDaemon) int { return a.key.Compare(b.key) })
	out := make([]daemon.Info, len(first))
	for i, f := range first {
		out[i] = f.d.Info()
	}
	return out
}

type keyedDaemon struct {
	key DaemonKey
	d   *engine.Daemon
}

// keyed is a heap with the largest key on top.
type keyed []keyedDaemon

func (k keyed) Len() int           { return len(k) }
func (k keyed) Less(i, j int) bool { return k[i].key.Compare(k[j].key) > 0 }
func (k keyed) Swap(i, j int)      { k[i], k[j] = k[j], k[i] }
func (k *keyed) Push(x any)        { *k = append(*k, x.(keyedDaemon)) }
func (k *keyed) Pop() any {
	old := *k
	last := old[len(old)-1]
	*k = old[:len(old)-1]
	return last
}
