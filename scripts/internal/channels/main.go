// Command channels moves a daemon that is subscribed to a channel back and forth
// while its events are published, and kills both nodes that the daemon goes between,
// at random; then it counts. Run it by scripts/channels --moves.
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
	moves := flag.Int("moves", 20, "how often the daemon moves")
	rate := flag.Int("rate", 1000, "events that are published a second")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano())%1_000_000, "of all that is drawn at random; when things happen still differs from run to run")
	bin := flag.String("bin", "", "the program wasmhost")
	keep := flag.Bool("keep", false, "keep the data directories and logs")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	dir, err := os.MkdirTemp("", "wasmhost-channels-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "channels:", err)
		os.Exit(1)
	}
	t := &trial{dir: dir, bin: *bin, rate: *rate, rng: rand.New(rand.NewPCG(*seed, 1))}
	start := time.Now()
	err = t.run(ctx, uint64(*moves))
	t.killAll()
	fmt.Printf("channels: %d events published, %d heard once and in order, %d moves, %d kills of a node, in %.0f s\n",
		t.published.Load(), t.heard, t.moves, t.kills, time.Since(start).Seconds())
	if err == nil && !*keep {
		err = os.RemoveAll(dir)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "channels: FAILED with --seed %d: %v\nchannels: data directories and logs are in %s\n", *seed, err, dir)
		os.Exit(1)
	}
}
