package sandbox

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
)

// A state that no guest of the module can have is refused, and the guest that
// was to take it is as before.
func TestStatesThatNoGuestHasAreRefused(t *testing.T) {
	g := everythingGuest(t, Config{CacheDir: compiled})
	other := everythingGuest(t, Config{CacheDir: compiled})
	r := rand.New(rand.NewPCG(1, 1))
	for n := range 200 {
		ask(g, n, everythingEvent(r))
		ask(other, n, everythingEvent(r))
	}
	good := saved(t, g)
	narrow := slices.Index(g.module.narrow, true)
	big := uint64(g.options.Limits.MemoryPages) * pageSize
	for name, change := range map[string]func(s *State){
		"another image":            func(s *State) { s.Image[3]++ },
		"no image":                 func(s *State) { s.Image = [32]byte{} },
		"no memory":                func(s *State) { s.Size = 0 },
		"part of a page":           func(s *State) { s.Size += blockBytes },
		"less than the image":      func(s *State) { s.Size = g.image.size - pageSize; s.Index, s.Blocks = nil, nil },
		"more than the limit":      func(s *State) { s.Size = big + pageSize },
		"the whole address space":  func(s *State) { s.Size = 1 << 32 },
		"a size that wraps":        func(s *State) { s.Size = 1<<64 - pageSize },
		"a global less":            func(s *State) { s.Globals = s.Globals[1:] },
		"a global more":            func(s *State) { s.Globals = append(s.Globals, 0) },
		"a narrow global too wide": func(s *State) { s.Globals[narrow] = 1 << 32 },
		"a table less":             func(s *State) { s.Tables = s.Tables[:1] },
		"a table more":             func(s *State) { s.Tables = append(s.Tables, nil) },
		"a table too small":        func(s *State) { s.Tables[0] = s.Tables[0][:7] },
		"a table too large":        func(s *State) { s.Tables[0] = make([]uint32, 41) },
		"a function too many":      func(s *State) { s.Tables[0][0] = uint32(g.module.rewritten.Functions) + 1 },
		"a function of the host's": func(s *State) { s.Tables[0][0] = ^uint32(0) },
		"a reference to the host":  func(s *State) { s.Tables[1][0] = 1 },
		"a huge table":             func(s *State) { s.Tables[1] = make([]uint32, 1<<17) },
		"a buffer outside":         func(s *State) { s.Buffer = uint32(s.Size) - 8; s.Room = 9 },
		"a buffer that wraps":      func(s *State) { s.Buffer, s.Room = ^uint32(0), ^uint32(0) },
		"a buffer without room":    func(s *State) { s.Room = 0 },
		"room without a buffer":    func(s *State) { s.Buffer = 0 },
		"a block of less":          func(s *State) { s.Blocks = s.Blocks[1:] },
		"a block of no index":      func(s *State) { s.Index = s.Index[1:] },
		"blocks out of order":      func(s *State) { s.Index[0], s.Index[1] = s.Index[1], s.Index[0] },
		"a block twice":            func(s *State) { s.Index[1] = s.Index[0] },
		"a block outside":          func(s *State) { s.Index[len(s.Index)-1] = uint32(s.Size / blockBytes) },
		"a block far outside":      func(s *State) { s.Index[len(s.Index)-1] = ^uint32(0) },
	} {
		for _, packed := range []bool{false, true} {
			if packed {
				other.Pack()
			}
			bad := saved(t, g)
			change(bad)
			before := rootOf(t, other)
			if err := other.Load(bad); !errors.Is(err, ErrState) {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if _, err := g.module.StateRoot(bad); !errors.Is(err, ErrState) && name != "more than the limit" {
				t.Errorf("%s: its root: %v", name, err)
			}
			if rootOf(t, other) != before {
				t.Errorf("%s: the guest that refused it is not as before", name)
			}
			ask(other, 1000, []byte{opNothing, 0, 0, 0, 0, 0, 0, 0, 0})
		}
	}
	if err := other.Load(good); err != nil || rootOf(t, other) != rootOf(t, g) {
		t.Errorf("a good state: %v", err)
	}
}
