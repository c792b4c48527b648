package sandbox

import "sync"

// mappedGuests are the guests that have a space. There are no more than the
// kernel has mappings for: one that was not used for long is packed to make
// room.
type mappedGuests struct {
	most int // 0: any number

	mu    sync.Mutex
	list  []*Guest
	index map[*Guest]int
	hand  int // where to look next for one to pack
}

// newSpace makes g a space as the image is.
func (e *Engine) newSpace(g *Guest) (space, error) {
	if e.mapping == nil {
		return newHeapSpace(g.image, g.limit()), nil
	}
	e.mapped.add(g)
	s, err := e.mapping.space(g.image, g.limit())
	if err != nil {
		e.mapped.remove(g)
		return nil, err
	}
	return s, nil
}

// add counts g, which has no space yet, and makes room for it.
func (m *mappedGuests) add(g *Guest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.index == nil {
		m.index = make(map[*Guest]int)
	}
	for tries := 2 * len(m.list); m.most > 0 && len(m.list) >= m.most && tries > 0; tries-- {
		m.hand = (m.hand + 1) % len(m.list)
		if old := m.list[m.hand]; !old.used.Swap(false) && old.pack() {
			m.drop(m.hand)
		}
	}
	m.index[g] = len(m.list)
	m.list = append(m.list, g)
}

func (m *mappedGuests) remove(g *Guest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if k, ok := m.index[g]; ok {
		m.drop(k)
	}
}

func (m *mappedGuests) drop(k int) {
	last := len(m.list) - 1
	delete(m.index, m.list[k])
	if k != last {
		m.list[k] = m.list[last]
		m.index[m.list[k]] = k
	}
	m.list = m.list[:last]
	if m.hand >= last {
		m.hand = 0
	}
}
