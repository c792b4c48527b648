package directory

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"wasmhost.example/identity"
)

// deaf is an Observer that hears nothing.
type deaf struct{}

func (deaf) DaemonChanged(identity.EntityID, *Entry) {}
func (deaf) DaemonRemoved(Removal)                   {}
func (deaf) NodeCame(Node)                           {}
func (deaf) NodeGone(identity.NodeID)                {}
func (deaf) NodeRemoved(Node)                        {}
func (deaf) SessionBegan(uint64)                     {}
func (deaf) LeaseChanged(bool)                       {}

// TestOldRemovalsAreSwept has a member find removals of today and of long ago.
func TestOldRemovalsAreSwept(t *testing.T) {
	for name, sweeps := range map[string]bool{"with a vote": true, "without one": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mem := NewMemory()
				link := mem.Link()
				old, fresh := Removal{Entity: someKey(t), Epoch: 1, Time: time.Now().Add(-removalKept - time.Hour)}, Removal{Entity: someKey(t), Epoch: 1, Time: time.Now()}
				for _, r := range []Removal{old, fresh} {
					if _, err := link.Commit(t.Context(), nil, []Write{{goneKey(r.Entity), must[[]byte](t)(r.encode())}}); err != nil {
						t.Fatal(err)
					}
				}
				m := must[*Member](t)(NewMember(Options{Engine: mem.Link(), Self: Node{Key: someKey(t), TTL: time.Second}, Sweeps: sweeps}))
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() { defer close(done); m.Run(ctx, deaf{}) }()
				time.Sleep(5 * time.Second)
				for what, c := range map[string]struct {
					r    Removal
					kept bool
				}{"old": {old, !sweeps}, "fresh": {fresh, true}} {
					_, revision, err := link.Get(t.Context(), goneKey(c.r.Entity))
					if err != nil || (revision != 0) != c.kept {
						t.Errorf("the %s removal is there: %v, %v; want %v", what, revision != 0, err, c.kept)
					}
					if is := m.RemovedAt(c.r.Entity) != 0; is != c.kept {
						t.Errorf("the member knows the %s removal: %v, want %v", what, is, c.kept)
					}
				}
				cancel()
				<-done
			})
		})
	}
}
