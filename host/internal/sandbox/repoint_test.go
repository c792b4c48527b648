package sandbox

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental"
)

// lender is a memory that is whatever is lent, or what grew of it.
type lender struct {
	lent []byte
	grow bool
}

func (l *lender) Allocate(_, _ uint64) experimental.LinearMemory { return l }
func (l *lender) Free()                                          {}
func (l *lender) Reallocate(size uint64) []byte {
	if l.grow {
		l.lent = append(l.lent, make([]byte, size-uint64(len(l.lent)))...)
	}
	return l.lent
}

// What lets guests take turns on an instance is no promise of the engine's: it
// takes whatever memory a growth returns, of whatever size, and so it does when
// an instance is made. A new version of the engine must pass this.
func TestEngineTakesWhateverMemoryItIsGiven(t *testing.T) {
	version, err := exec.Command("go", "list", "-m", "github.com/tetratelabs/wazero").Output()
	if err != nil {
		t.Fatal(err)
	}
	a := &assembly{}
	one := a.typ("i", "i")
	a.add(5, 0, 1)
	a.export("load", 0, a.fn(one, leb(0), get(0), mem(0x28, 0)))
	a.export("grow", 0, a.fn(one, leb(0), get(0), 0x40, 0))
	a.export("size", 0, a.fn(one, leb(0), 0x3f, 0))
	wasm := a.bytes()
	for name, config := range map[string]wazero.RuntimeConfig{"compiled": wazero.NewRuntimeConfig(), "interpreted": wazero.NewRuntimeConfigInterpreter()} {
		t.Run(name, func(t *testing.T) {
			wrong := func(what string, got ...any) {
				t.Helper()
				t.Fatalf("%s no longer does what sandbox relies on: %s: %v", strings.TrimSpace(string(version)), what, got)
			}
			r := wazero.NewRuntimeWithConfig(ctx, config)
			defer r.Close(ctx)
			page := func(n int, fill byte) []byte {
				b := make([]byte, n*pageSize)
				for i := range b {
					b[i] = fill
				}
				return b
			}
			l := &lender{lent: page(3, 1)}
			m, err := r.InstantiateWithConfig(experimental.WithMemoryAllocator(ctx, l), wasm, wazero.NewModuleConfig())
			if err != nil {
				t.Fatal(err)
			}
			invoke := func(name string, arg uint64) (uint64, error) {
				res, err := m.ExportedFunction(name).Call(ctx, arg)
				if err != nil {
					return 0, err
				}
				return res[0], nil
			}
			expect := func(what string, pages uint64, fill uint64) {
				t.Helper()
				if got, err := invoke("size", 0); got != pages || err != nil {
					wrong(what+": memory.size", got, err)
				}
				last := pages*pageSize - 4
				if got, err := invoke("load", last); got != fill || err != nil {
					wrong(what+": the last load within the memory", got, err)
				}
				if got, err := invoke("load", last+1); err == nil {
					wrong(what+": a load beyond the memory does not trap", got)
				}
				if n := m.Memory().Size(); uint64(n) != pages*pageSize {
					wrong(what+": api.Memory.Size", n)
				}
			}
			expect("a longer memory at instantiation", 3, 0x01010101)
			for round := range 3 {
				for _, n := range []int{5, 1, 2, 1, 7} {
					l.lent = page(n, byte(n))
					if _, ok := m.Memory().Grow(1); !ok {
						wrong("pointing at another memory by Grow", round, n)
					}
					expect("after Grow", uint64(n), 0x01010101*uint64(n))
				}
				l.grow = true
				if was, err := invoke("grow", 2); was != 7 || err != nil {
					wrong("growth of the memory it was pointed at", was, err)
				}
				l.grow = false
				expect("after the guest's own growth", 9, 0)
			}
		})
	}
}
