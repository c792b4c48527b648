package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// against compares a benchmark of package host with what it was at a commit: the
// processor time of one operation, old and new in turn within each round. The ratio is
// the median over the rounds, with its quartiles.
func against(root, commit, benchmark string, rounds int) (err error) {
	const n = 500_000 // operations of a run
	dir, err := os.MkdirTemp("", "against-")
	if err != nil {
		return err
	}
	before := filepath.Join(dir, "before")
	if err := exec.Command("git", "-C", root, "worktree", "add", "--detach", before, commit).Run(); err != nil {
		return fmt.Errorf("checking out %s: %w", commit, err)
	}
	defer func() {
		err = errors.Join(err, exec.Command("git", "-C", root, "worktree", "remove", "--force", before).Run(), os.RemoveAll(dir))
	}()

	sides := []side{{tree: before, binary: filepath.Join(dir, "old.test")}, {tree: root, binary: filepath.Join(dir, "new.test")}}
	for _, s := range sides {
		c := exec.Command("go", "test", "-c", "-trimpath", "-o", s.binary, "./host")
		c.Dir, c.Stderr = s.tree, os.Stderr
		if err := c.Run(); err != nil {
			return fmt.Errorf("building the benchmarks of %s: %w", s.tree, err)
		}
	}

	var took [2][]float64
	var ratios []float64
	for range rounds {
		var now [2]float64
		for i, s := range sides {
			if now[i], err = s.each(benchmark, n); err != nil {
				return err
			}
			took[i] = append(took[i], now[i])
		}
		ratios = append(ratios, now[1]/now[0])
	}
	slices.Sort(ratios)
	fmt.Printf("Benchmark%s against %s (%d rounds of %d): %.0f ns of a processor, before %.0f ns; ratio %.3f, quartiles %.3f and %.3f\n", benchmark, commit,
		rounds, n, median(took[1]), median(took[0]), median(ratios), ratios[rounds/4], ratios[rounds-1-rounds/4])
	return nil
}

// side is one of the two that are compared.
type side struct{ tree, binary string }

// each returns the nanoseconds of a processor that one of n operations takes: those of a
// run of n, without those of a run of one.
func (s side) each(benchmark string, n int) (float64, error) {
	one, err := s.run(benchmark, 1)
	if err != nil {
		return 0, err
	}
	all, err := s.run(benchmark, n)
	return float64(all-one) / float64(n-1), err
}

func (s side) run(benchmark string, n int) (time.Duration, error) {
	c := exec.Command(s.binary, "-test.run", "^$", "-test.bench", "^Benchmark"+benchmark+"$", "-test.benchtime", fmt.Sprintf("%dx", n), "-test.cpu", "1")
	c.Dir = filepath.Join(s.tree, "host")
	if out, err := c.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("running %s: %w: %s", s.binary, err, out)
	}
	return c.ProcessState.UserTime() + c.ProcessState.SystemTime(), nil
}
