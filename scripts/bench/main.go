// Command bench measures wasmhost against wazero alone and against its
// neighbours, side by side in one run, and prints ratios.
//
//	scripts/bench/run [-rounds N] [-only NAME,NAME] [-keep]
//	scripts/bench/run -against COMMIT -only NAME,NAME [-rounds N]
//
// Every contender of a comparison runs in every round, in turn; a ratio is the
// median over the rounds of the ratio within one round, so that a machine that
// is slow for a while is slow for all.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"wasmhost.example/host/directory"
)

var ctx = context.Background()

// contender does n of what is measured.
type contender struct {
	name string
	run  func(n int) error
	part int // it does so much less, for it is slow; 0: all
}

// comparison puts the first contender beside the others.
type comparison struct {
	name  string
	n     int    // per round
	unit  string // empty: nanoseconds for one
	setup func(root string) ([]contender, func() error, error)
}

func main() {
	rounds := flag.Int("rounds", 15, "rounds of each comparison")
	onlyList := flag.String("only", "", "run these comparisons alone: NAME,NAME")
	drains := flag.Int("drain", 1000, "daemons that are drained")
	root := flag.String("root", "../..", "the repository")
	sinks := flag.Bool("sink", false, "take what a bare QUIC stream brings: for migrate")
	write := flag.Bool("keep", false, "with -only: write RESULTS.md and results.svg all the same, which a whole run does")
	profile := flag.String("cpuprofile", "", "write a profile of the processor to this file: with -only, and -contender")
	alone := flag.String("contender", "", "run the contenders whose names begin so alone")
	asPlugin := flag.Bool("plugin", false, "be a process of go-plugin: for deliver and spawn")
	idle := flag.String("idle", "", "hold counters of this contender and print what each costs: for idle")
	stops := flag.Int("stop", 100_000, "daemons that are removed: for stopped")
	past := flag.String("past", "", "start on this data directory and print what that takes: for stopped")
	commit := flag.String("against", "", "compare the processor time of the comparisons of -only with what it was at this commit, and nothing else")
	flag.Parse()
	only := strings.Split(*onlyList, ",")
	known := make(map[string]bool)
	wanted := func(name string) bool {
		known[name] = true
		return *onlyList == "" || slices.Contains(only, name)
	}
	contenderOnly = *alone
	if *profile != "" {
		stop, err := profileTo(*profile)
		if err != nil {
			fmt.Fprintf(os.Stderr, "bench: profiling: %v\n", err)
			os.Exit(1)
		}
		defer stop()
	}
	if *asPlugin {
		servePlugin()
		return
	}
	if *idle != "" {
		if err := idleProcess(os.Stdout, *root, *idle); err != nil {
			fmt.Fprintf(os.Stderr, "bench: idle: %v\n", err)
			os.Exit(1)
		}
		return
	}
	if *past != "" {
		if err := startOnPast(os.Stdout, *past); err != nil {
			fmt.Fprintf(os.Stderr, "bench: past: %v\n", err)
			os.Exit(1)
		}
		return
	}
	if *rounds < 1 {
		fmt.Fprintf(os.Stderr, "bench: -rounds is %d, not 1 or more\n", *rounds)
		os.Exit(2)
	}
	if *commit != "" {
		if err := against(*root, *commit, strings.Split(*onlyList, ","), *rounds); err != nil {
			fmt.Fprintf(os.Stderr, "bench: against: %v\n", err)
			os.Exit(1)
		}
		return
	}
	if *sinks {
		if err := sink(); err != nil {
			fmt.Fprintf(os.Stderr, "bench: sink: %v\n", err)
			os.Exit(1)
		}
		return
	}
	for _, c := range []comparison{deliver, deliver1K, queries, spawnOne, sendLines, channels, crowd, durable64, durable1, standby1, standby64, replay} {
		if !wanted(c.name) {
			continue
		}
		if err := c.measure(*root, *rounds); err != nil {
			fmt.Fprintf(os.Stderr, "bench: %s: %v\n", c.name, err)
			os.Exit(1)
		}
	}
	for name, measure := range map[string]func(string, int) error{"idle": idleMemory, "copies": copies} {
		if !wanted(name) {
			continue
		}
		if err := measure(*root, *rounds); err != nil {
			fmt.Fprintf(os.Stderr, "bench: %s: %v\n", name, err)
			os.Exit(1)
		}
	}
	if wanted("passive") {
		for file, many := range map[string]int{"c/counter.wasm": 100_000, "go/wordcount.wasm": 2000} {
			if err := manyPassive(*root, file, many); err != nil {
				fmt.Fprintf(os.Stderr, "bench: passive: %v\n", err)
				os.Exit(1)
			}
		}
	}
	if wanted("live") {
		for what, open := range map[string]opening{"alone": openAlone, "in a cluster of one node": openMember(directory.NewMemory())} {
			if err := manyLive(*root, "c/counter.wasm", what, 100_000, open); err != nil {
				fmt.Fprintf(os.Stderr, "bench: live: %v\n", err)
				os.Exit(1)
			}
		}
	}
	if wanted("stopped") {
		if err := manyStopped(*root, *stops); err != nil {
			fmt.Fprintf(os.Stderr, "bench: stopped: %v\n", err)
			os.Exit(1)
		}
	}
	if wanted("directory") {
		if err := largeDirectory(*root, 100_000); err != nil {
			fmt.Fprintf(os.Stderr, "bench: directory: %v\n", err)
			os.Exit(1)
		}
	}
	if wanted("migrate") {
		if err := migrations(*root, *rounds); err != nil {
			fmt.Fprintf(os.Stderr, "bench: migrate: %v\n", err)
			os.Exit(1)
		}
	}
	if wanted("drain") {
		if err := manyDrained(*root, *rounds, *drains); err != nil {
			fmt.Fprintf(os.Stderr, "bench: drain: %v\n", err)
			os.Exit(1)
		}
	}
	for _, name := range only {
		if *onlyList != "" && !known[name] {
			fmt.Fprintf(os.Stderr, "bench: nothing is called %q; there are %s\n", name, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
			os.Exit(2)
		}
	}
	if *onlyList == "" || *write {
		if err := keep(filepath.Join(*root, "scripts", "bench")); err != nil {
			fmt.Fprintf(os.Stderr, "bench: keeping the results: %v\n", err)
			os.Exit(1)
		}
	}
}

func (c *comparison) measure(root string, rounds int) (err error) {
	contenders, done, err := c.setup(root)
	if err != nil {
		return err
	}
	defer func() {
		if e := done(); err == nil {
			err = e
		}
	}()
	if contenderOnly != "" {
		contenders = slices.DeleteFunc(contenders, func(k contender) bool { return !strings.HasPrefix(k.name, contenderOnly) })
		if len(contenders) == 0 {
			return nil
		}
	}
	per := make([][]float64, len(contenders)) // nanoseconds for one, by contender and round
	for round := range rounds + 1 {
		for i, k := range contenders {
			start := time.Now()
			n := max(1, c.n/max(1, k.part))
			if err := k.run(n); err != nil {
				return fmt.Errorf("%s: %w", k.name, err)
			}
			if round > 0 { // the first warms up
				per[i] = append(per[i], float64(time.Since(start).Nanoseconds())/float64(n))
			}
		}
	}
	c.report(contenders, per)
	return nil
}

// contenderOnly is how the names of those that are run begin; empty: all are.
var contenderOnly string

// profileTo profiles this process until stop is called.
func profileTo(path string) (stop func(), err error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() {
		pprof.StopCPUProfile()
		if err := f.Close(); err != nil {
			fmt.Fprintf(os.Stderr, "bench: profiling: %v\n", err)
		}
	}, nil
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

func guest(root, name string) ([]byte, error) {
	return os.ReadFile(filepath.Join(root, "testdata", "wasm", name))
}
