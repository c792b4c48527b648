package standbys

import (
	"fmt"

	"wasmhost.example/host/standby"
)

// takeBatch writes what came, and says that it is held: at once, or once the disk
// has it.
func (in *receiving) takeBatch(m *standby.Batch) error {
	in.s.mu.Lock()
	known := in.s.record != nil
	in.s.mu.Unlock()
	if m.Number != 0 && !known {
		return fmt.Errorf("%w: a batch to acknowledge before the daemon's record", standby.ErrBadMessage)
	}
	b, err := in.batch(m)
	if err != nil {
		return err
	}
	if m.Number == 0 {
		in.set.env.Store.Submit(b, in.note)
		return nil
	}
	in.s.mu.Lock()
	caughtUp := !in.s.whole || in.s.said != in.disk
	in.s.fed = true
	if caughtUp {
		in.s.whole = true
		if err := in.s.put(b); err != nil {
			in.s.mu.Unlock()
			return err
		}
	}
	in.s.mu.Unlock()
	if in.disk || caughtUp {
		in.set.env.Store.Submit(b, func(err error) {
			if in.note(err); err == nil {
				in.holding.Go(func() { _ = in.hold(m.Number) }) // its stream ends where this fails
			}
		})
		return nil
	}
	in.set.env.Store.SubmitLater(b, in.note)
	in.owes = m.Number
	return nil
}

// note ends the stream where the store does not take what came.
func (in *receiving) note(err error) {
	if err != nil {
		in.set.env.Logger.Error("keeping a daemon's copy", "daemon", in.s.id.Origin(), "error", err)
		in.s.mu.Lock()
		in.s.whole = false
		in.s.mu.Unlock()
		in.conn.Abort()
	}
}

// hold says that all up to the batch is held, unless a later one was said to be.
func (in *receiving) hold(number uint64) error {
	in.sending.Lock()
	defer in.sending.Unlock()
	if number <= in.said {
		return nil
	}
	in.s.mu.Lock()
	fenced, whole := in.s.fenced, in.s.whole
	in.s.mu.Unlock()
	if fenced || !whole {
		return errLost
	}
	in.said = number
	return standby.SendNow(in.conn, &standby.Held{Number: number})
}
