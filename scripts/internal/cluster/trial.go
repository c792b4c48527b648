package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/scripts/internal/fleet"
	"wasmhost.example/scripts/internal/spaces"
)

// trial is one run: nodes of a cluster, daemons with standbys, senders, and what
// happens to the nodes.
type trial struct {
	dir, bin string
	other    string // another build: nodes begin with it, and each start draws one of both; empty: none
	format   string // what the other build's data directories say of their format
	rng      *rand.Rand
	lease    time.Duration
	verbose  bool
	killOnly bool
	diskOnly bool // what happens, happens to the disks of the nodes without a vote
	spaces   bool // nodes are in network namespaces, whose links are cut too
	net      *spaces.Network
	nodes    []*fleet.Node
	senders  []*fleet.Sender
	fleet.Tally

	changed                                              int // starts of the other build than before
	disks                                                int // that were made older, shorter, or empty
	rounds, kills, stops, migrations, refused, cuts, bad int
	runs                                                 map[string]string // which build each node runs
	waits                                                []time.Duration   // of senders whose daemon's owner was killed
}

// resident is a daemon that stays.
type resident struct {
	name, path string
	standbys   int
	ack        string
}

var residents = []resident{
	{"count", "testdata/wasm/c/counter.wasm", 1, "memory"},
	{"tally", "testdata/wasm/rust/counter.wasm", 2, "memory"},
	{"echo", "testdata/wasm/c/echo.wasm", 1, "disk"},
}

func (t *trial) run(ctx context.Context, nodes, rounds int) error {
	if err := t.setUp(ctx, nodes); err != nil {
		return err
	}
	stop := make(chan struct{})
	sending, giveUp := context.WithCancel(ctx)
	defer giveUp()
	ended := make(chan error, len(t.senders))
	for _, s := range t.senders {
		go func() { ended <- s.Run(sending, stop) }()
	}
	var err error
	for t.rounds = 0; t.rounds < rounds && err == nil && ctx.Err() == nil; t.rounds++ {
		err = t.round(ctx)
	}
	close(stop)
	timer := time.AfterFunc(60*time.Second, giveUp)
	defer timer.Stop()
	for range t.senders {
		err = errors.Join(err, <-ended)
	}
	return errors.Join(err, t.check(ctx))
}

func (t *trial) setUp(ctx context.Context, nodes int) error {
	if err := t.places(ctx, nodes); err != nil {
		return err
	}
	for i, n := range t.nodes {
		n.Args = []string{"--cluster", "--lease", t.lease.String()}
		if t.diskOnly { // the first node has the one vote, and keeps its disk
			n.Args = append(n.Args, "--cluster-voters", "1")
		}
		if i > 0 {
			token, err := t.nodes[0].Client.Node().JoinToken(ctx, time.Minute, "all,join")
			if err != nil && t.other != "" { // a build that has no such right
				token, err = t.nodes[0].Client.Node().JoinToken(ctx, time.Minute, "all")
			}
			if err != nil {
				return err
			}
			n.Join = token.Token
		}
		if err := n.Start(ctx); err != nil {
			return err
		}
		n.Join = ""
	}
	for i, r := range residents {
		if t.diskOnly {
			r.ack = "disk"
		}
		wasm, err := os.ReadFile(r.path)
		if err != nil {
			return err
		}
		at := t.nodes[i%len(t.nodes)].Client
		if _, err := at.Kinds().Push(ctx, r.name, bytes.NewReader(wasm), "snapshot-events=50"); err != nil {
			return err
		}
		if _, err := at.Spawn(ctx, api.Spawn{Kind: r.name, Name: r.name, Standbys: r.standbys, Ack: r.ack}); err != nil {
			return err
		}
		for j := range 2 {
			s, err := fleet.NewSender(fmt.Sprintf("%s-%d", r.name, j), r.name, t.nodes, t.rng.Uint64())
			if err != nil {
				return err
			}
			if j == 0 {
				s.Batch = 100
			}
			t.senders = append(t.senders, s)
		}
	}
	if !t.diskOnly {
		if err := fleet.Voting(ctx, t.nodes[0], 3); err != nil {
			return err
		}
	}
	return t.inSync(ctx)
}

// places says where the nodes are to run.
func (t *trial) places(ctx context.Context, nodes int) (err error) {
	var names []string
	for i := range nodes {
		names = append(names, string(rune('a'+i)))
	}
	if t.spaces {
		if t.net, err = spaces.New(ctx, names...); err != nil {
			return err
		}
	}
	for i, name := range names {
		command, addr := []string{t.bin}, ""
		if t.spaces {
			h := t.net.Hosts[i]
			command, addr = append(h.Command(), t.bin), h.Addr()+":7433"
		} else if addr, err = fleet.FreeAddr(); err != nil {
			return err
		}
		n := fleet.NewNode(t.dir, name, addr, command...)
		if t.other != "" {
			n.Use(t.other)
			t.runs[name] = t.other
		}
		t.nodes = append(t.nodes, n)
	}
	return nil
}

// inSync waits until every daemon has the standbys that it is to have.
func (t *trial) inSync(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	var last api.ClusterStatus
	for {
		s, err := t.nodes[0].Client.Cluster().Status(ctx)
		if err == nil {
			last = s
		}
		if err == nil && !s.Holding && s.Daemons == len(residents) && s.Wanting == 0 && s.Orphaned == 0 {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("the standbys do not catch up: %d of %d daemons want some, %d are lost: %w", last.Wanting, last.Daemons, last.Orphaned, err)
		}
		fleet.Pause(ctx, 20*time.Millisecond)
	}
}

// owner is the node that the directory says has the daemon.
func (t *trial) owner(ctx context.Context, daemon string) (*fleet.Node, error) {
	for _, n := range t.nodes {
		list, err := n.Client.Daemons().List(ctx, false)
		if err != nil {
			return nil, err
		}
		for _, d := range list {
			if d.Name == daemon {
				return n, nil
			}
		}
	}
	return nil, fmt.Errorf("no node has daemon %s", daemon)
}

// round lets one thing happen to the owner of a daemon while all senders send, and
// waits until every daemon has its standbys again.
func (t *trial) round(ctx context.Context) error {
	if t.diskOnly {
		what, err := t.disk(ctx)
		if t.verbose {
			fmt.Printf("round %d: %s\n", t.rounds+1, what)
		}
		if err == nil {
			err = t.current(ctx)
		}
		return err
	}
	victim, err := t.owner(ctx, residents[t.rng.IntN(len(residents))].name)
	if err != nil {
		return err
	}
	fleet.Pause(ctx, time.Duration(t.rng.IntN(400))*time.Millisecond)
	what := ""
	kinds := 5
	if t.spaces {
		kinds = 13
	}
	draw := t.rng.IntN(kinds)
	if t.killOnly {
		draw = 0
	}
	switch {
	case draw < 2:
		what, err = "killed", t.kill(ctx, victim)
	case draw < 4:
		what, err = "stopped", t.pause(ctx, victim)
	case draw < 5:
		what, err = "migrated from", t.migrate(ctx)
	default:
		what, err = t.cut(ctx, slices.Index(t.nodes, victim))
	}
	if err == nil {
		err = t.inSync(ctx)
	}
	if t.verbose {
		fmt.Printf("round %d: %s %s\n", t.rounds+1, what, victim.Name)
	}
	return err
}

// kill ends the node, starts it again after the others have gone on with its daemons,
// and notes how long these daemons' senders waited: from the last answer by the old
// owner to the first by the new.
func (t *trial) kill(ctx context.Context, n *fleet.Node) error {
	list, err := n.Client.Daemons().List(ctx, false)
	if err != nil {
		return err
	}
	for _, s := range t.senders {
		s.Stall()
	}
	t.kills++
	if err := n.Kill(); err != nil {
		return err
	}
	fleet.Pause(ctx, 3*t.lease+time.Duration(t.rng.Int64N(int64(2*t.lease))))
	for _, s := range t.senders {
		stall := s.Stall()
		if slices.ContainsFunc(list, func(d api.Daemon) bool { return d.Name == s.Daemon }) {
			t.waits = append(t.waits, stall)
		}
	}
	if t.other != "" {
		if err := t.drawBuild(n); err != nil {
			return err
		}
	}
	return n.Start(ctx)
}

// drawBuild draws the build that the node starts with next. The other build does not
// read a data directory that this one has upgraded: such a node stays with this one.
func (t *trial) drawBuild(n *fleet.Node) error {
	format, err := os.ReadFile(filepath.Join(n.Data(), "format"))
	if err != nil {
		return err
	}
	if t.format == "" { // every node began with the other build
		t.format = string(format)
	}

	draw := t.bin
	if string(format) == t.format {
		draw = []string{t.bin, t.other}[t.rng.IntN(2)]
	}
	if draw != t.runs[n.Name] {
		n.Use(draw)
		t.runs[n.Name] = draw
		t.changed++
	}
	return nil
}

// pause stops the process for up to three leases: it then goes on where it was,
// and must find that others have its daemons.
func (t *trial) pause(ctx context.Context, n *fleet.Node) error {
	t.stops++
	if err := n.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	d := time.Duration(t.rng.Int64N(int64(3 * t.lease)))
	fleet.Pause(ctx, d)
	return n.Signal(syscall.SIGCONT)
}

func (t *trial) migrate(ctx context.Context) error {
	r := residents[t.rng.IntN(len(residents))]
	from, err := t.owner(ctx, r.name)
	if err != nil {
		return err
	}
	to := t.nodes[t.rng.IntN(len(t.nodes))]
	if to == from {
		return nil
	}
	_, err = from.Client.Migrate(ctx, r.name, api.Migrate{To: to.Name}, func(api.MigrationStep) {})
	if said := new(api.Problem); errors.As(err, &said) && (said.Status < 500 || said.Retriable) { // the target has just come back, or the daemon went elsewhere
		t.refused++
		return nil
	}
	t.migrations++
	return err
}

// dump has the nodes write to their logs what each goroutine waits for, and end.
func (t *trial) dump() {
	for _, n := range t.nodes {
		if err := n.Signal(syscall.SIGQUIT); err == nil {
			n.Wait(10 * time.Second)
		}
	}
}

func (t *trial) endAll() (err error) {
	for _, n := range t.nodes {
		if err := n.Kill(); err != nil {
			fmt.Fprintln(os.Stderr, "cluster:", err)
		}
	}
	if t.net != nil {
		err = t.net.Close()
	}
	return err
}
