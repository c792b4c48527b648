// Command bench measures wasmhost against wazero alone and against its
// neighbours, side by side in one run, and prints ratios.
//
//	scripts/bench/run [-rounds N] [-only NAME]
//
// Every contender of a comparison runs in every round, in turn; a ratio is the
// median over the rounds of the ratio within one round, so that a machine that
// is slow for a while is slow for all.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

var ctx = context.Background()

// contender does n of what is measured.
type contender struct {
	name string
	run  func(n int) error
}

// comparison puts the first contender beside the others.
type comparison struct {
	name  string
	n     int // per round
	setup func(root string) ([]contender, func() error, error)
}

func main() {
	rounds := flag.Int("rounds", 15, "rounds of each comparison")
	only := flag.String("only", "", "run this comparison alone")
	drains := flag.Int("drain", 1000, "daemons that are drained")
	root := flag.String("root", "../..", "the repository")
	sinks := flag.Bool("sink", false, "take what a bare QUIC stream brings: for migrate")
	flag.Parse()
	if *sinks {
		if err := sink(); err != nil {
			fmt.Fprintf(os.Stderr, "bench: sink: %v\n", err)
			os.Exit(1)
		}
		return
	}
	for _, c := range []comparison{deliver, sendLines, channels, crowd, durable64, durable1, replay} {
		if *only != "" && c.name != *only {
			continue
		}
		if err := c.measure(*root, *rounds); err != nil {
			fmt.Fprintf(os.Stderr, "bench: %s: %v\n", c.name, err)
			os.Exit(1)
		}
	}
	if *only == "" || *only == "passive" {
		for file, many := range map[string]int{"c/counter.wasm": 100_000, "go/wordcount.wasm": 2000} {
			if err := manyPassive(*root, file, many); err != nil {
				fmt.Fprintf(os.Stderr, "bench: passive: %v\n", err)
				os.Exit(1)
			}
		}
	}
	if *only == "" || *only == "migrate" {
		if err := migrations(*root, *rounds); err != nil {
			fmt.Fprintf(os.Stderr, "bench: migrate: %v\n", err)
			os.Exit(1)
		}
	}
	if *only == "" || *only == "drain" {
		if err := manyDrained(*root, *rounds, *drains); err != nil {
			fmt.Fprintf(os.Stderr, "bench: drain: %v\n", err)
			os.Exit(1)
		}
	}
}

func (c comparison) measure(root string, rounds int) (err error) {
	contenders, done, err := c.setup(root)
	if err != nil {
		return err
	}
	defer func() {
		if e := done(); err == nil {
			err = e
		}
	}()
	per := make([][]float64, len(contenders)) // nanoseconds for one, by contender and round
	for round := range rounds + 1 {
		for i, k := range contenders {
			start := time.Now()
			if err := k.run(c.n); err != nil {
				return fmt.Errorf("%s: %w", k.name, err)
			}
			if round > 0 { // the first warms up
				per[i] = append(per[i], float64(time.Since(start).Nanoseconds())/float64(c.n))
			}
		}
	}
	fmt.Printf("%s (%d rounds of %d)\n", c.name, rounds, c.n)
	for i, k := range contenders {
		ratios := make([]float64, rounds)
		for r := range ratios {
			ratios[r] = per[i][r] / per[0][r]
		}
		fmt.Printf("  %-52s %10.0f ns   %10.0f /s   %7.2f times the first\n", k.name, median(per[i]), 1e9/median(per[i]), median(ratios))
	}
	return nil
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

func guest(root, name string) ([]byte, error) {
	return os.ReadFile(filepath.Join(root, "testdata", "wasm", name))
}
