package env

import "context"

// Background runs f as a piece of work in a goroutine of its own, with the Env's
// Context; false, and f does not run, once Work is closed.
func (e *Env) Background(f func(ctx context.Context)) bool {
	if !e.Work.Begin() {
		return false
	}
	go func() {
		defer e.Work.Done()
		f(e.Context)
	}()
	return true
}
