package subscriber

// ringEntry is some events, or a gap.
type ringEntry struct {
	first, last uint64
	events      []byte // nil: they are lost
}

// push puts an entry into the ring. One that does not follow what is there
// begins the ring anew: the publisher has set the feed back. It needs in.mu.
func (in *subscription) push(e ringEntry) {
	if e.last < in.next || e.first > in.next || in.next == 0 {
		for _, old := range in.ring {
			in.owed += len(old.events)
		}
		in.ring, in.bytes = in.ring[:0], 0
	}

	in.ring = append(in.ring, e)
	in.bytes += len(e.events)
	in.next = e.last + 1
}

// consumed makes room for what all the fastest has had. It needs in.mu, and
// returns how many bytes the publisher is to be told of.
func (in *subscription) consumed() (room int) {
	fastest := uint64(0)
	for _, m := range in.members {
		fastest = max(fastest, m.cursor)
	}

	n := 0
	for n < len(in.ring)-1 && in.bytes > ringBytes/2 && in.ring[n].last <= fastest {
		in.bytes -= len(in.ring[n].events)
		in.owed += len(in.ring[n].events)
		n++
	}

	if n > 0 {
		clear(in.ring[:n])
		in.ring = in.ring[n:]
	}

	if in.owed >= grantBytes {
		room, in.owed = in.owed, 0
	}
	return room
}
