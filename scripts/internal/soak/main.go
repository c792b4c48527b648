// Command soak has real nodes work for as long as it is told: events without a pause,
// migrations, crashes, upgrades; then it counts, and says what rose that must be flat.
// Run it by scripts/soak.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	length := flag.Duration("for", 2*time.Minute, "how long the nodes work")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano())%1_000_000, "of what is drawn at random")
	bin := flag.String("bin", "", "the program wasmhost")
	keep := flag.Bool("keep", false, "keep the data directories and logs")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("", "wasmhost-soak-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
	w := &work{dir: dir, bin: *bin, rng: rand.New(rand.NewPCG(*seed, 3)), samples: make(map[string][]sample)}
	began := time.Now()
	err = w.run(ctx, *length)
	w.killAll()
	err = errors.Join(err, w.Err())
	fmt.Printf("soak: %.0f s: acknowledged %d, lost %d, doubled %d; %d migrations, %d crashes, %d upgrades\n",
		time.Since(began).Seconds(), w.Acknowledged, w.Lost, w.Doubled, w.migrations, w.crashes, w.upgrades)
	for _, n := range w.nodes {
		fmt.Println("soak: " + summary(n.Name, w.samples[n.Name]))
	}
	if err == nil && !*keep {
		err = os.RemoveAll(dir)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "soak: FAILED with --seed %d: %v\nsoak: data directories and logs are in %s\n", *seed, err, dir)
		os.Exit(1)
	}
}

// summary is what a node held first and last.
func summary(name string, samples []sample) string {
	if len(samples) == 0 {
		return "node " + name + " was not measured"
	}
	a, z := samples[0].usage, samples[len(samples)-1].usage
	return fmt.Sprintf("node %s: memory %d to %d MiB, goroutines %d to %d, open files %d to %d, disk %d to %d MiB, %d samples",
		name, a.Resident>>20, z.Resident>>20, a.Goroutines, z.Goroutines, a.Files, z.Files, a.Disk>>20, z.Disk>>20, len(samples))
}
