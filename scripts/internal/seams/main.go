// Command seams has real nodes do, at the same time, what single features promise one by
// one: groups change under senders with ids, daemons are upgraded, forked, quarantined and
// limited, channels are made again, while daemons move and nodes are killed; then it
// compares what is there with what was acknowledged. Run it by scripts/seams.
package main

import (
	"context"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// seam is a place where features meet. run changes something, and says through the round
// what it finds wrong; an error is what kept it from going on.
type seam struct {
	name string
	run  func(context.Context, *round) error
}

var seams = []seam{
	{"groups", groups}, {"upgrades", upgrades}, {"quarantine", quarantine}, {"forks", forks},
	{"channels", channels}, {"limits", limits}, {"facts", facts},
}

// mix spreads the numbers of rounds, so that those that follow each other draw differently.
const mix = 0x9e3779b97f4a7c15

// roundTime bounds one round.
const roundTime = 2 * time.Minute

func main() {
	rounds := flag.Int("rounds", 0, "how many; each has nodes of its own; 0: 21, or as many as fit in --for")
	length := flag.Duration("for", 0, "begin no round after this time; 0: do all")
	first := flag.Int("first", 1, "number of the first round")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano())%1_000_000, "of all that is drawn at random; when things happen still differs from run to run")
	only := flag.String("only", "", "seams, separated by commas; default: all")
	bin := flag.String("bin", "", "the program wasmhost")
	keep := flag.Bool("keep", false, "keep the data directories and logs of all rounds; those of a round that fails are always kept")
	verbose := flag.Bool("v", false, "tell each round")
	flag.Parse()
	chosen, err := choose(*only)
	if err != nil || flag.NArg() > 0 || *rounds < 0 || *first < 1 {
		fmt.Fprintln(os.Stderr, "seams: usage: scripts/seams [--rounds N] [--for D] [--first N] [--seed S] [--only SEAM,...] [--keep] [-v]", err)
		os.Exit(2)
	}
	switch {
	case *rounds == 0 && *length == 0:
		*rounds = 3 * len(seams)
	case *rounds == 0:
		*rounds = math.MaxInt32
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("", "wasmhost-seams-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "seams:", err)
		os.Exit(1)
	}
	began, failed, sum := time.Now(), 0, newTotals()
	for n := *first; n < *first+*rounds && ctx.Err() == nil && (*length == 0 || time.Since(began) < *length); n++ {
		s := chosen[(n-1)%len(chosen)]
		r := &round{number: n, dir: filepath.Join(dir, fmt.Sprint(n)), bin: *bin, seed: *seed, rng: rand.New(rand.NewPCG(*seed, uint64(n)*mix)), totals: sum, book: newBook(sum)}
		start := time.Now()
		err := r.run(ctx, s)
		if ctx.Err() != nil {
			break
		}
		sum.rounds++
		if err != nil {
			failed++
			fmt.Fprintf(os.Stderr, "seams: FAILED: seed %d, round %d, %s\n  %v\nseams: again: scripts/seams --seed %d --only %s --first %d --rounds 1\nseams: data directories and logs are in %s\n",
				*seed, n, r.story(s), err, *seed, s.name, n, r.dir)
		} else if *verbose {
			fmt.Printf("round %d: %s, in %.1f s\n", n, r.story(s), time.Since(start).Seconds())
		}
		if err == nil && !*keep {
			if err := os.RemoveAll(r.dir); err != nil {
				fmt.Fprintln(os.Stderr, "seams:", err)
			}
		}
	}
	fmt.Printf("seams: seed %d, %s, in %.0f s\n", *seed, sum, time.Since(began).Seconds())
	if failed == 0 && !*keep || ctx.Err() != nil {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, "seams:", err)
		}
	}
	switch {
	case ctx.Err() != nil:
		os.Exit(130)
	case failed > 0:
		fmt.Fprintf(os.Stderr, "seams: %d of %d rounds FAILED\n", failed, sum.rounds)
		os.Exit(1)
	}
}

// choose returns the seams of a list; all of an empty one.
func choose(only string) ([]seam, error) {
	if only == "" {
		return seams, nil
	}
	var out []seam
	for _, name := range strings.Split(only, ",") {
		i := slices.IndexFunc(seams, func(s seam) bool { return s.name == name })
		if i < 0 {
			return nil, fmt.Errorf("no seam %q", name)
		}
		out = append(out, seams[i])
	}
	return out, nil
}
