package budget

import (
	"io"
	"time"
)

// StuckAfter is how long a write to somebody who does not read may take while others
// wait for the bytes that it holds. A write that nobody waits for may take any time.
const StuckAfter = 30 * time.Second

const lookAgain = time.Second

// Guard ends writes that others cannot wait for any longer: those that last StuckAfter
// while Contended says that somebody waits. Cut must end a write under way.
type Guard struct {
	Contended func() bool
	Cut       func()
}

// Do calls f, which writes.
func (g Guard) Do(f func() error) error {
	done := make(chan struct{})
	late := time.AfterFunc(StuckAfter, func() { g.look(done) })
	defer late.Stop()
	defer close(done)
	return f()
}

// Writer returns a writer to w that is guarded.
func (g Guard) Writer(w io.Writer) io.Writer { return guarded{g, w} }

type guarded struct {
	Guard
	w io.Writer
}

func (x guarded) Write(b []byte) (n int, err error) {
	err = x.Do(func() (err error) {
		n, err = x.w.Write(b)
		return err
	})
	return n, err
}

// look cuts the write once others wait, unless it ends before.
func (g Guard) look(done <-chan struct{}) {
	again := time.NewTicker(lookAgain)
	defer again.Stop()
	for !g.Contended() {
		select {
		case <-again.C:
		case <-done:
			return
		}
	}

	select {
	case <-done:
	default:
		g.Cut()
	}
}
