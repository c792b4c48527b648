package sandbox

// Follower keeps the hash of a state that changes block by block, for the price
// of what changes. It is not safe for concurrent use.
type Follower struct {
	module *Module
	levels [treeLevels + 1]map[uint32][32]byte // of what differs from the image, or did; leaves at 0
	fresh  map[uint32]struct{}                 // leaves whose ancestors are to be made again
}

// Follow makes a Follower that stands at the image of the guest's module.
func (g *Guest) Follow() *Follower {
	f := &Follower{module: g.module, fresh: make(map[uint32]struct{})}
	for l := range f.levels {
		f.levels[l] = make(map[uint32][32]byte)
	}
	return f
}

// Put says what a block is now: BlockBytes of it.
func (f *Follower) Put(index uint32, b []byte) {
	f.levels[0][index] = leafHash((*block)(b))
	f.fresh[index] = struct{}{}
}

// Root returns the hash of the state that has the blocks that were put, and the
// image's where none was, with the size and registers of s.
func (f *Follower) Root(s *State) [32]byte {
	t := &f.module.image.tree
	level := f.fresh
	for l := range treeLevels {
		up := make(map[uint32]struct{}, (len(level)+1)/2)
		for i := range level {
			if _, done := up[i/2]; done {
				continue
			}
			left, right := t.node(l, i&^1, f.levels[l]), t.node(l, i|1, f.levels[l])
			f.levels[l+1][i/2] = nodeHash(&left, &right)
			up[i/2] = struct{}{}
		}
		level = up
	}
	clear(f.fresh)
	return stateRoot(t.node(treeLevels, 0, f.levels[treeLevels]), s.registers(), s.Size)
}

func (s *State) registers() *registers {
	return &registers{globals: s.Globals, tables: s.Tables, buf: s.Buffer, cap: s.Room}
}
