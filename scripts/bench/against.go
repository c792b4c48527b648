package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// paired are the comparisons that against can run: how the names of their contenders
// begin that are ours, and between which numbers of rounds the processor's time is taken.
// What is spent on building, on starting and on the first rounds is in both, and cancels.
var paired = map[string]struct {
	contender   string
	least, most int
}{
	"deliver":      {"wasmhost: Runtime.Deliver", 2, 42},
	"deliver-1KiB": {"wasmhost: Runtime.Deliver", 2, 42},
	"spawn":        {"wasmhost: Runtime.Spawn", 2, 42},
	"durable-64":   {"wasmhost: durable", 1, 5},
	"durable-1":    {"wasmhost: durable", 1, 5},
	"migrate":      {"", 1, 5},
}

// against compares what this commit costs with what another did: the processor time of
// the whole run, with that of the nodes it starts, old and new in turn within each round.
// It prints the median of the rounds' ratios, and its quartiles. Wall time says little on
// a machine that others use, and is not looked at.
func against(root, commit string, names []string, rounds int) (err error) {
	for _, name := range names {
		if _, ok := paired[name]; !ok {
			return fmt.Errorf("%s is not compared with another commit", name)
		}
	}
	dir, err := os.MkdirTemp("", "against-")
	if err != nil {
		return err
	}
	before := filepath.Join(dir, "before")
	if out, err := exec.Command("git", "-C", root, "worktree", "add", "--detach", before, commit).CombinedOutput(); err != nil {
		return errors.Join(fmt.Errorf("checking out %s: %w: %s", commit, err, out), os.RemoveAll(dir))
	}
	defer func() {
		err = errors.Join(err, exec.Command("git", "-C", root, "worktree", "remove", "--force", before).Run(), os.RemoveAll(dir))
	}()

	sides := []side{{before, filepath.Join(dir, "old")}, {root, filepath.Join(dir, "new")}}
	for _, s := range sides {
		c := exec.Command("go", "build", "-trimpath", "-o", s.binary, ".")
		c.Dir = filepath.Join(s.tree, "scripts", "bench")
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("building the benchmarks of %s: %w: %s", s.tree, err, out)
		}
	}
	for _, name := range names {
		if err := comparePaired(sides, name, commit, rounds); err != nil {
			return err
		}
	}
	return nil
}

func comparePaired(sides []side, name, commit string, rounds int) error {
	var took [2][]float64
	var ratios []float64
	for round := range rounds {
		var now [2]float64
		for k := range sides {
			i := (k + round) % 2 // who is first takes turns
			d, err := sides[i].each(name)
			if err != nil {
				return err
			}
			now[i] = d.Seconds() * 1000
			took[i] = append(took[i], now[i])
		}
		ratios = append(ratios, now[1]/now[0])
	}

	slices.Sort(ratios)
	fmt.Printf("%s against %s (%d rounds): %.0f ms of a processor, before %.0f ms; ratio %.3f, quartiles %.3f and %.3f\n", name, commit,
		rounds, median(took[1]), median(took[0]), median(ratios), ratios[rounds/4], ratios[rounds-1-rounds/4])
	return nil
}

// side is one of the two that are compared.
type side struct{ tree, binary string }

// each returns the processor time of one round.
func (s side) each(name string) (time.Duration, error) {
	p := paired[name]
	least, err := s.run(name, p.contender, p.least)
	if err != nil {
		return 0, err
	}
	most, err := s.run(name, p.contender, p.most)
	return (most - least) / time.Duration(p.most-p.least), err
}

// run returns the processor time of a run and of the processes that it waited for.
func (s side) run(name, contender string, rounds int) (time.Duration, error) {
	c := exec.Command(s.binary, "-only", name, "-contender", contender, "-rounds", strconv.Itoa(rounds))
	c.Dir = filepath.Join(s.tree, "scripts", "bench")
	if out, err := c.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("running %s of %s: %w: %s", name, s.tree, err, out)
	}
	return c.ProcessState.UserTime() + c.ProcessState.SystemTime(), nil
}
