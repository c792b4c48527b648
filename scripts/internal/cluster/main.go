// Command cluster kills, stops and continues the nodes of a cluster at random
// moments, over and over, while senders send and daemons migrate; then it counts.
// Run it by scripts/cluster.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"time"

	"wasmhost.example/scripts/internal/spaces"
)

// exitSkipped says that this machine makes no network namespaces.
const exitSkipped = 77

func main() {
	rounds := flag.Int("rounds", 12, "how often something happens to a node")
	nodes := flag.Int("nodes", 3, "how many there are, from 3")
	lease := flag.Duration("lease", 500*time.Millisecond, "of the nodes")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano())%1_000_000, "of all that is drawn at random; when things happen still differs from run to run")
	bin := flag.String("bin", "", "the program wasmhost")
	other := flag.String("other", "", "another build of wasmhost: nodes begin with it, and each start draws one of both")
	keep := flag.Bool("keep", false, "keep the data directories and logs")
	killOnly := flag.Bool("kill", false, "only kill: how long failovers take")
	diskOnly := flag.Bool("disks", false, "only make the disks of nodes older, shorter or empty; four nodes unless it is said")
	netns := flag.Bool("netns", false, "run the nodes in network namespaces, and cut and spoil their links too; it takes root")
	verbose := flag.Bool("v", false, "tell each round")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	dir, err := os.MkdirTemp("", "wasmhost-cluster-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
	t := &trial{dir: dir, bin: *bin, rng: rand.New(rand.NewPCG(*seed, 1)), lease: *lease, verbose: *verbose, killOnly: *killOnly, diskOnly: *diskOnly, spaces: *netns, other: *other, runs: make(map[string]string)}
	start := time.Now()
	if *nodes < 3 {
		err = fmt.Errorf("--nodes %d: at least 3, so that one may fail", *nodes)
	} else {
		err = t.run(ctx, *nodes, *rounds)
	}
	if err != nil && ctx.Err() == nil {
		t.dump()
	}
	err = errors.Join(err, t.endAll())
	if errors.Is(err, spaces.ErrNotPermitted) {
		fmt.Println("cluster: SKIPPED:", err)
		_ = os.RemoveAll(dir) // it is empty
		os.Exit(exitSkipped)
	}
	if err == nil {
		err = t.Err()
	}
	fmt.Printf("cluster: %d nodes, %d rounds: %d killed, %d stopped for a while, %d migrations and %d refused, %d partitions, %d bad links; in %.0f s\n",
		*nodes, t.rounds, t.kills, t.stops, t.migrations, t.refused, t.cuts, t.bad, time.Since(start).Seconds())
	if *diskOnly {
		fmt.Printf("cluster: %d disks were made older, shorter or empty\n", t.disks)
	}
	fmt.Printf("cluster: acknowledged %d, lost %d, doubled %d\n", t.Acknowledged, t.Lost, t.Doubled)
	if *other != "" {
		fmt.Printf("cluster: nodes changed their build %d times\n", t.changed)
	}
	if len(t.waits) > 0 {
		slices.Sort(t.waits)
		fmt.Printf("cluster: from the last answer of a killed owner to the first of the next, lease %v, %d senders: median %.2f s, longest %.2f s\n", *lease, len(t.waits), t.waits[len(t.waits)/2].Seconds(), t.waits[len(t.waits)-1].Seconds())
	}
	if err == nil && !*keep {
		err = os.RemoveAll(dir)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "cluster: FAILED with --seed %d: %v\ncluster: data directories and logs are in %s\n", *seed, err, dir)
		os.Exit(1)
	}
}
