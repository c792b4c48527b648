// Command crash kills nodes with SIGKILL at random moments, over and over, while
// senders send, daemons migrate, start and stop, and snapshots are taken; then it
// counts. Run it by scripts/crash.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"time"
)

func main() {
	rounds := flag.Int("rounds", 50, "how often nodes are killed")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano())%1_000_000, "of all that is drawn at random; when things happen still differs from run to run")
	bin := flag.String("bin", "", "the program wasmhost")
	keep := flag.Bool("keep", false, "keep the data directories and logs")
	verbose := flag.Bool("v", false, "tell each round")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	dir, err := os.MkdirTemp("", "wasmhost-crash-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "crash:", err)
		os.Exit(1)
	}
	t := &trial{dir: dir, bin: *bin, rng: rand.New(rand.NewPCG(*seed, 1)), verbose: *verbose}
	start := time.Now()
	err = t.run(ctx, *rounds)
	t.killAll()
	if err == nil {
		err = t.Err()
	}
	fmt.Printf("crash: %d rounds, %d kills (%d of both nodes at once, %d while starting), %d migrations, %d snapshots, %d spawned and %d stopped, in %.0f s\n",
		t.rounds, t.kills, t.both, t.early, t.migrations, len(t.snapshots), t.spawned, t.stopped, time.Since(start).Seconds())
	fmt.Printf("crash: acknowledged %d, lost %d, doubled %d\n", t.Acknowledged, t.Lost, t.Doubled)
	if err == nil && !*keep {
		err = os.RemoveAll(dir)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "crash: FAILED with --seed %d: %v\ncrash: data directories and logs are in %s\n", *seed, err, dir)
		os.Exit(1)
	}
}
