package spaces

import (
	"errors"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Weather is what happens to frames on their way from one host to another.
type Weather struct {
	Delay   time.Duration // one way
	Loss    float64       // of those that are sent, which get lost
	Reorder float64       // which overtake those before them, where there is a delay
	Rate    float64       // bytes in a second; 0: any number
	Cut     bool          // nothing gets through
}

// cable passes Ethernet frames between the hosts, as a switch with long wires
// does: what the kernel's netem does where it is there, on every kernel. It is
// safe for concurrent use.
type cable struct {
	ends    []*os.File
	lines   [][]*line // by sender and receiver
	readers sync.WaitGroup
	writers sync.WaitGroup

	mu    sync.Mutex
	where map[[6]byte]int // hosts by their hardware address
}

// line is one direction between two hosts.
type line struct {
	out   *os.File
	now   atomic.Pointer[Weather]
	queue chan frame

	free time.Time // when the frames before are on the wire
}

type frame struct {
	due time.Time
	b   []byte
}

const (
	header    = 10      // bytes that PACKET_VNET_HDR puts before a frame
	longest   = 1 << 16 // bytes of a frame
	queued    = 4096    // frames that a line holds while they are delayed
	backlog   = 200 * time.Millisecond
	linkBytes = 14 // of the header of an Ethernet frame
)

func newCable(ends []*os.File) *cable {
	c := &cable{ends: ends, where: make(map[[6]byte]int)}
	for i := range ends {
		lines := make([]*line, len(ends))
		for j, out := range ends {
			if i == j {
				continue
			}
			l := &line{out: out, queue: make(chan frame, queued)}
			l.now.Store(&Weather{})
			lines[j] = l
			c.writers.Go(l.run)
		}
		c.lines = append(c.lines, lines)
	}
	for i := range ends {
		c.readers.Go(func() { c.read(i) })
	}
	return c
}

// Set changes the weather between two hosts, both ways.
func (c *cable) Set(i, j int, w Weather) {
	c.SetOneWay(i, j, w)
	c.SetOneWay(j, i, w)
}

// SetOneWay changes the weather for what one host sends to another.
func (c *cable) SetOneWay(from, to int, w Weather) { c.lines[from][to].now.Store(&w) }

// SetAll changes the weather between all hosts.
func (c *cable) SetAll(w Weather) {
	for i := range c.ends {
		for j := range i {
			c.Set(i, j, w)
		}
	}
}

func (c *cable) close() error {
	var err error
	for _, f := range c.ends {
		err = errors.Join(err, f.Close())
	}
	c.readers.Wait()
	for _, lines := range c.lines {
		for _, l := range lines {
			if l != nil {
				close(l.queue)
			}
		}
	}
	c.writers.Wait()
	return err
}

// read takes the frames that a host sends until its end is closed.
func (c *cable) read(from int) {
	buf := make([]byte, header+longest)
	for {
		n, err := c.ends[from].Read(buf)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil || n < header+linkBytes { // a link that is down says so
			time.Sleep(time.Millisecond)
			continue
		}
		b := append([]byte(nil), buf[:n]...)
		to, src := [6]byte(b[header:]), [6]byte(b[header+6:])
		c.mu.Lock()
		c.where[src] = from
		at, known := c.where[to]
		c.mu.Unlock()
		for j, l := range c.lines[from] {
			if l != nil && (!known || at == j) {
				l.pass(b)
			}
		}
	}
}

// pass sends a frame on its way, or loses it.
func (l *line) pass(b []byte) {
	w := l.now.Load()
	if w.Cut || w.Loss > 0 && rand.Float64() < w.Loss {
		return
	}
	now := time.Now()
	if l.free.Before(now) {
		l.free = now
	}
	if w.Rate > 0 {
		if l.free.Sub(now) > backlog {
			return // as a router does whose queue is full
		}
		l.free = l.free.Add(time.Duration(float64(len(b)-header) / w.Rate * float64(time.Second)))
	}
	if w.Reorder > 0 && rand.Float64() < w.Reorder {
		l.write(b)
		return
	}
	select {
	case l.queue <- frame{l.free.Add(w.Delay), b}:
	default:
	}
}

// run delivers the frames, in the order in which they were sent, when they are
// due.
func (l *line) run() {
	for f := range l.queue {
		if d := time.Until(f.due); d > 0 {
			time.Sleep(d)
		}
		if !l.now.Load().Cut {
			l.write(f.b)
		}
	}
}

func (l *line) write(b []byte) {
	_, _ = l.out.Write(b) // what does not get through is lost, as on any wire
}
