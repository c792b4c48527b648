package hosttest_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/identity"
)

var (
	seeds     = flag.Uint64("seeds", 40, "how many random stories TestFaultSearch runs")
	firstSeed = flag.Uint64("first", 1, "the first seed")
	shrinking = flag.Bool("shrink", true, "look for the least story that fails")
	storyFile = flag.String("story", "", "a file with a story for TestStory to run")
)

// A story is what happens to a cluster of three nodes while senders send to a
// daemon. In text, a line is a step: after how long, a verb, its words.
//
//	20ms move b         whoever has the daemon moves it to b
//	0s cancel           the last move is cancelled
//	5ms cut Release 1   the connection breaks at the first Release from now
//	0s delay Tail 30ms  every Tail takes up to 30 ms to be sent, and as much to
//	                    be acted on, from now on
//	1s crash a          power failure; of unsynced writes some survive
//	0s sync a 3         a crash of a before its third sync from now
//	0s arm a Ready 1    a crash of a before its next sync once a Ready came to it, or went
//	0s die a Release 1  a crash of a as it sends its first Release from now
//	1s stop a           orderly
//	1s start a          on what is on its disk
//	0s down b, up b     no new connections, and again
//	0s notready b, ready b
type story struct {
	seed  uint64 // of all that the steps do not say
	steps []step
}

type step struct {
	after time.Duration
	verb  string
	words []string
}

func (s step) String() string {
	return strings.TrimSpace(fmt.Sprintf("%v %s %s", s.after, s.verb, strings.Join(s.words, " ")))
}

func (s story) String() string {
	lines := []string{fmt.Sprintf("seed %d", s.seed)}
	for _, st := range s.steps {
		lines = append(lines, st.String())
	}
	return strings.Join(lines, "\n")
}

func parseStory(text string) (story, error) {
	var s story
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		f := strings.Fields(line)
		var err error
		switch {
		case i == 0 && len(f) == 2 && f[0] == "seed":
			s.seed, err = strconv.ParseUint(f[1], 10, 64)
		case len(f) >= 2:
			st := step{verb: f[1], words: f[2:]}
			st.after, err = time.ParseDuration(f[0])
			s.steps = append(s.steps, st)
		default:
			err = fmt.Errorf("not a step")
		}
		if err != nil {
			return s, fmt.Errorf("line %d, %q: %w", i+1, line, err)
		}
	}
	return s, nil
}

var messages = []string{"Offer", "Accept", "HistoryBatch", "SnapshotChunk", "Arrived", "Ready", "Tail", "Prepared", "Release", "Done", "Ask", "Hold", "Refuse"}

// invent makes a story of the seed.
func invent(seed uint64) story {
	rng := rand.New(rand.NewPCG(seed, 1))
	s := story{seed: seed}
	pick := func(of ...string) string { return of[rng.IntN(len(of))] }
	add := func(most time.Duration, verb string, words ...string) {
		s.steps = append(s.steps, step{after: time.Duration(rng.Int64N(int64(most))).Round(time.Millisecond), verb: verb, words: words})
	}
	for range 1 + rng.IntN(5) { // so that a migration takes time, in which things happen
		add(time.Millisecond, "delay", pick(messages...), fmt.Sprintf("%dms", 1+rng.IntN(80)))
	}
	for range 4 + rng.IntN(16) {
		const soon = 60 * time.Millisecond
		switch rng.IntN(17) {
		case 12:
			n := pick("a", "b", "c")
			add(soon, "sync", n, fmt.Sprint(1+rng.IntN(6)))
			add(8*soon, "start", n)
		case 14, 15:
			n := pick("a", "b", "c")
			add(soon, "arm", n, pick(messages...), "1")
			add(8*soon, "start", n)
		case 13:
			n := pick("a", "b", "c")
			add(soon, "die", n, pick(messages...), "1")
			add(8*soon, "start", n)
		case 16: // a change of mind
			n := pick("a", "b", "c")
			add(soon, "move", n)
			add(soon, "cancel")
			add(soon/4, "move", n)
		case 0, 1, 2, 3:
			add(soon, "move", pick("a", "b", "c"))
		case 4, 5:
			add(soon, "cut", pick(messages...), fmt.Sprint(1+rng.IntN(2)))
		case 6, 7:
			n := pick("a", "b", "c")
			add(soon, "crash", n)
			add(8*soon, "start", n)
		case 8:
			n := pick("a", "b", "c")
			add(soon, "stop", n)
			add(8*soon, "start", n)
		case 9:
			n := pick("a", "b", "c")
			add(soon, "down", n)
			add(8*soon, "up", n)
		case 10:
			n := pick("a", "b", "c")
			add(soon, "notready", n)
			add(20*soon, "ready", n)
		default:
			add(soon, "cancel")
		}
	}
	return s
}

// recorder takes what went wrong.
type recorder struct {
	testing.TB
	mu   sync.Mutex
	said []string
}

func (r *recorder) Errorf(f string, a ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = append(r.said, fmt.Sprintf(f, a...))
}

func (r *recorder) Fatalf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }
func (r *recorder) Fatal(a ...any)            { panic(fmt.Sprint(a...)) }

// play runs the story and returns what went wrong.
func play(t *testing.T, s story) []string {
	rec := &recorder{TB: t}
	synctest.Test(t, func(*testing.T) {
		c := newCluster(rec, s.seed, 3)
		d, err := c.nodes[0].rt.Spawn(ctx, daemon.SpawnRequest{Kind: "ledger", Name: "ledger"})
		if err != nil {
			rec.Fatal(err)
		}
		limit, cancel := context.WithTimeout(ctx, 10*time.Minute)
		defer cancel()
		var senders []*sender
		var sending sync.WaitGroup
		for i := range 3 {
			var id identity.EntityID
			key, err := identity.Generate()
			if err != nil {
				rec.Fatal(err)
			}
			id = key.ID()
			sn := &sender{c: c, name: fmt.Sprintf("s%d", i), id: id, daemon: d.Entity, events: 40, failed: make(map[uint64]bool),
				acked: make(map[uint64]string), rng: rand.New(rand.NewPCG(s.seed, uint64(10+i)))}
			senders = append(senders, sn)
			sending.Go(func() { sn.run(limit) })
		}
		st := &stage{c: c, daemon: d.Entity}
		for _, step := range s.steps {
			time.Sleep(step.after)
			st.do(step)
		}
		st.heal()
		sending.Wait()
		time.Sleep(5 * time.Minute) // every retry is over
		synctest.Wait()
		c.settle(d.Entity, senders)
		for _, n := range c.nodes {
			n.stop()
		}
		c.ending.Wait()
	})
	return rec.said
}

// stage does the steps.
type stage struct {
	c      *cluster
	daemon identity.EntityID
	last   *host.Migration
}

func (s *stage) do(st step) {
	c := s.c
	switch st.verb {
	case "move":
		s.move(c.node(st.words[0]))
	case "cancel":
		if s.last != nil {
			s.last.Cancel()
		}
	case "cut":
		n, err := strconv.Atoi(st.words[1])
		if err != nil {
			c.t.Fatal(err)
		}
		c.mu.Lock()
		c.cuts[st.words[0]] = n
		c.mu.Unlock()
	case "delay":
		d, err := time.ParseDuration(st.words[1])
		if err != nil {
			c.t.Fatal(err)
		}
		c.mu.Lock()
		c.delays[st.words[0]] = d
		c.mu.Unlock()
	case "sync":
		k, err := strconv.ParseInt(st.words[1], 10, 64)
		if err != nil {
			c.t.Fatal(err)
		}
		c.node(st.words[0]).dieAt.Store(k)
	case "die", "arm":
		k, err := strconv.Atoi(st.words[2])
		if err != nil {
			c.t.Fatal(err)
		}
		c.mu.Lock()
		plan := c.deaths
		if st.verb == "arm" {
			plan = c.arms
		}
		plan[st.words[0]+" "+st.words[1]] = k
		c.mu.Unlock()
	case "crash":
		c.node(st.words[0]).crash()
	case "stop":
		c.node(st.words[0]).stop()
	case "start":
		c.node(st.words[0]).start()
	case "down", "up":
		c.net.SetDown(c.node(st.words[0]).key.ID().Node(), st.verb == "down")
	case "notready", "ready":
		if rt := c.node(st.words[0]).runtime(); rt != nil {
			rt.SimulateNotReady(st.verb == "notready")
		}
	default:
		c.t.Fatalf("no verb %q", st.verb)
	}
}

func (s *stage) move(to *node) {
	for _, n := range s.c.nodes {
		if rt := n.runtime(); rt != nil && n != to {
			m, err := rt.StartMigrationWith(ctx, s.daemon, to.key.ID().Node(), host.MigrationOptions{RetryNotReady: 3 * time.Second})
			if err == nil {
				s.last = m
				return
			}
		}
	}
}

// heal ends every disturbance.
func (s *stage) heal() {
	s.c.healed.Store(true)
	s.c.mu.Lock()
	clear(s.c.cuts)
	clear(s.c.delays)
	clear(s.c.deaths)
	clear(s.c.arms)
	s.c.mu.Unlock()
	for _, n := range s.c.nodes {
		s.c.net.SetDown(n.key.ID().Node(), false)
		n.dieAt.Store(0)
		n.start()
		n.rt.SimulateNotReady(false)
	}
}

// shrink leaves out what the failure does not need.
func shrink(t *testing.T, s story) story {
	const tries = 6 // schedules differ from run to run
	fails := func(s story) bool {
		for range tries {
			if len(play(t, s)) > 0 {
				return true
			}
		}
		return false
	}
	for changed := true; changed; {
		changed = false
		for i := len(s.steps) - 1; i >= 0; i-- {
			less := story{seed: s.seed, steps: slices.Delete(slices.Clone(s.steps), i, i+1)}
			if fails(less) {
				s, changed = less, true
			}
		}
	}
	return s
}

// Many random stories; after each: one owner, nothing acknowledged lost,
// nothing applied twice, order kept, the chain whole, nothing left running.
func TestFaultSearch(t *testing.T) {
	for seed := *firstSeed; seed < *firstSeed+*seeds; seed++ {
		s := invent(seed)
		if said := play(t, s); len(said) > 0 {
			t.Errorf("seed %d:\n  %s", seed, strings.Join(said, "\n  "))
			if !*shrinking {
				t.FailNow()
			}
			t.Fatalf("the least that fails so (run it by -run TestStory -story FILE):\n%s", shrink(t, s))
		}
	}
}

// TestStory runs one story, for whoever looks for a fault.
func TestStory(t *testing.T) {
	text := "seed 7\n0s delay Tail 20ms\n5ms move b\n10ms crash a\n50ms start a\n10ms move c\n0s cut Release 1"
	if *storyFile != "" {
		b, err := os.ReadFile(*storyFile)
		if err != nil {
			t.Fatal(err)
		}
		text = string(b)
	}
	s, err := parseStory(text)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := parseStory(s.String()); err != nil || again.String() != s.String() {
		t.Fatalf("the story reads back as %q, %v", again, err)
	}
	for _, said := range play(t, s) {
		t.Error(said)
	}
}
