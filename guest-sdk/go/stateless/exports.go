//go:build wasip1

package stateless

//go:wasmexport wasmhost_stateless
func exportStateless() {}
