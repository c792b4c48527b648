package wire

import (
	"bufio"
	"errors"
	"testing"

	"wasmhost.example/host/budget"
	"wasmhost.example/host/daemon"
)

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("the peer has left") }

// TestAnAnswerThatIsNotWrittenHoldsNothing has the peer leave before an answer is durable,
// while those before it go out.
func TestAnAnswerThatIsNotWrittenHoldsNothing(t *testing.T) {
	n := newNode(t, "a")
	if err := n.rt.RegisterFactory("loud", daemon.FactoryFunc(newLoud)); err != nil {
		t.Fatal(err)
	}
	d, err := n.rt.Spawn(ctx, daemon.SpawnRequest{Kind: "loud"})
	if err != nil {
		t.Fatal(err)
	}
	room := budget.New("answers", "node", 1<<30)
	late := 0
	for range 100 {
		p, err := n.rt.Submit(ctx, d.Entity, daemon.Event{Payload: []byte{1}, Answers: room})
		if err != nil {
			t.Fatal(err)
		}
		w := bufio.NewWriter(brokenWriter{})
		if err := w.WriteByte(0); err != nil {
			t.Fatal(err)
		}
		answers := make(chan answer, 1)
		answers <- answer{pending: p}
		select {
		case <-p.Ready():
		default:
			late++
		}
		if err := writeAnswers(ctx, w, answers); err == nil {
			t.Fatal("an answer was written to nobody")
		}
	}
	if used := room.Use().Used; used != 0 {
		t.Errorf("%d bytes are held by answers that nobody will write; %d of 100 were late", used, late)
	}
}
