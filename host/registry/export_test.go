package registry

// CompileWaiters returns how many callers wait for modules.
func CompileWaiters(r *Registry) int {
	r.compiles.mu.Lock()
	defer r.compiles.mu.Unlock()

	n := 0
	for _, f := range r.compiles.flights {
		n += f.waiting
	}
	return n
}
