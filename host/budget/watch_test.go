package budget_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"wasmhost.example/host/budget"
)

type stuck struct{ cut chan struct{} }

var errCut = errors.New("cut")

func (s stuck) Write([]byte) (int, error) {
	<-s.cut
	return 0, errCut
}

func TestAWriteThatOthersWaitForIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := stuck{make(chan struct{})}
		var wanted atomic.Bool
		w := budget.Guard{Contended: wanted.Load, Cut: func() { close(to.cut) }}.Writer(to)
		began := time.Now()
		go func() {
			time.Sleep(5 * budget.StuckAfter) // until then nobody waits
			wanted.Store(true)
		}()
		_, err := w.Write([]byte("x"))
		if took := time.Since(began); !errors.Is(err, errCut) || took < 5*budget.StuckAfter || took > 6*budget.StuckAfter {
			t.Errorf("the write ended after %v with %v", took, err)
		}
	})
}

func TestALoneItemPasses(t *testing.T) {
	stream := budget.New("answers", "node", 100).Lone("stream", 10)
	if err := stream.TryAcquire(50); err != nil {
		t.Fatalf("the only item: %v", err)
	}
	if err := stream.TryAcquire(1); err == nil {
		t.Fatal("one beside it fits")
	}
	if stream.Take(101) {
		t.Fatal("one over the node's limit fits")
	}
}
