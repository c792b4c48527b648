// Command netns runs three nodes in network namespaces, moves a daemon between
// them over bad links, links that are cut, addresses that change and nodes that
// are killed, while senders send; then it counts. Run it by scripts/netns.
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
	"strings"
	"syscall"
	"time"

	"wasmhost.example/scripts/internal/spaces"
)

// exitSkipped says that this machine makes no such network.
const exitSkipped = 77

func main() {
	rounds := flag.Int("rounds", 20, "how often the daemon moves")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano())%1_000_000, "of all that is drawn at random; when things happen still differs from run to run")
	only := flag.String("case", "", "of "+strings.Join(caseNames(), ", ")+": this one alone")
	bin := flag.String("bin", "", "the program wasmhost")
	keep := flag.Bool("keep", false, "keep the data directories and logs")
	verbose := flag.Bool("v", false, "tell each round")
	flag.Parse()
	if *only != "" && !slices.Contains(caseNames(), *only) || flag.NArg() > 0 || *bin == "" {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("", "wasmhost-netns-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "netns:", err)
		os.Exit(1)
	}
	t := &trial{dir: dir, bin: *bin, rng: rand.New(rand.NewPCG(*seed, 1)), verbose: *verbose, ran: make(map[string]int), stalls: make(map[string]time.Duration), halves: make(map[uint64]bool)}
	start := time.Now()
	err = t.run(ctx, *rounds, *only)
	err = errors.Join(err, t.end())
	if errors.Is(err, spaces.ErrNotPermitted) {
		fmt.Println("netns: SKIPPED:", err)
		_ = os.RemoveAll(dir) // it is empty
		os.Exit(exitSkipped)
	}
	err = errors.Join(err, t.Err())
	var ran, stalls []string
	for _, name := range caseNames() {
		if t.ran[name] > 0 {
			ran = append(ran, fmt.Sprintf("%s %d", name, t.ran[name]))
			stalls = append(stalls, fmt.Sprintf("%s %.1f s", name, t.stalls[name].Seconds()))
		}
	}
	fmt.Printf("netns: %d rounds in %.0f s: %s\n", t.rounds, time.Since(start).Seconds(), strings.Join(ran, ", "))
	fmt.Printf("netns: %d moves, %d given up, %d settled by hand, %d transfers resumed, %d receipts, %d half ones of sources that were killed\n",
		t.moves, t.givenUp, t.byHand, t.resumed, t.receipts, len(t.halves))
	fmt.Printf("netns: a sender waited at most: %s\n", strings.Join(stalls, ", "))
	fmt.Printf("netns: acknowledged %d, lost %d, doubled %d\n", t.Acknowledged, t.Lost, t.Doubled)
	if err == nil && !*keep {
		err = os.RemoveAll(dir)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "netns: FAILED with --seed %d: %v\nnetns: data directories and logs are in %s\n", *seed, err, dir)
		os.Exit(1)
	}
}
