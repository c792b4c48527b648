package sandbox

import "slices"

// Follower keeps the hash of a state that changes block by block, for the price
// of what changes. It is not safe for concurrent use.
type Follower struct {
	module *Module
	levels [treeLevels + 1]nodes // of what differs from the image, or did; leaves at 0
	fresh  []uint32              // leaves whose ancestors are to be made again
	noted  BlockSet              // those in fresh
}

// Follow makes a Follower that stands at the image of the guest's module.
func (g *Guest) Follow() *Follower { return &Follower{module: g.module} }

// Put says what a block is now: BlockBytes of it.
func (f *Follower) Put(index uint32, b []byte) {
	f.levels[0].set(index, leafHash((*block)(b)))
	if f.noted.Add(index) {
		f.fresh = append(f.fresh, index)
	}
}

// Root returns the hash of the state that has the blocks that were put, and the
// image's where none was, with the size and registers of s.
func (f *Follower) Root(s *State) [32]byte {
	level := f.fresh
	slices.Sort(level)
	for l := range treeLevels {
		up := level[:0]
		for _, i := range level {
			if n := len(up); n > 0 && up[n-1] == i/2 {
				continue
			}
			left, right := f.node(l, i&^1), f.node(l, i|1)
			f.levels[l+1].set(i/2, nodeHash(&left, &right))
			up = append(up, i/2)
		}
		level = up
	}
	f.fresh, f.noted = f.fresh[:0], f.noted[:0]
	return stateRoot(f.node(treeLevels, 0), s.registers(), s.Size)
}

func (f *Follower) node(l int, i uint32) [32]byte {
	if h, ok := f.levels[l].get(i); ok {
		return h
	}
	return f.module.image.tree.node(l, i, nil)
}

func (s *State) registers() *registers {
	return &registers{globals: s.Globals, tables: s.Tables, buf: s.Buffer, cap: s.Room}
}

// nodes is the nodes of one level of a tree, by index, in pages: of a large memory
// all are there, of a small one few.
type nodes []*nodePage

type nodePage struct {
	has uint64
	at  [64][32]byte
}

func (n nodes) get(i uint32) (h [32]byte, ok bool) {
	if p := int(i / 64); p < len(n) && n[p] != nil && n[p].has>>(i%64)&1 != 0 {
		return n[p].at[i%64], true
	}
	return h, false
}

func (n *nodes) set(i uint32, h [32]byte) {
	p := int(i / 64)
	if p >= len(*n) {
		*n = append(*n, make(nodes, p+1-len(*n))...)
	}
	page := (*n)[p]
	if page == nil {
		page = &nodePage{}
		(*n)[p] = page
	}
	page.has |= 1 << (i % 64)
	page.at[i%64] = h
}

// BlockSet is a set of blocks by their numbers. A nil one is empty, and so is one that was
// cut to no length. It is not safe for concurrent use.
type BlockSet []uint64

// Add adds a block, and reports whether it was not there.
func (s *BlockSet) Add(b uint32) bool {
	if n := int(b/64) + 1; n > len(*s) {
		*s = append(*s, make(BlockSet, n-len(*s))...)
	}
	added := !s.Has(b)
	(*s)[b/64] |= 1 << (b % 64)
	return added
}

// Has reports whether a block is there.
func (s BlockSet) Has(b uint32) bool { return int(b/64) < len(s) && s[b/64]>>(b%64)&1 != 0 }
