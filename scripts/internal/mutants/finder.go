package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// finder finds a mutant, in a copy of the repository at dir, and says how; nothing
// where it does not. A mutant that does not build is an error.
type finder interface {
	find(dir string) (how string, err error)
}

// faultSearch is the search by random stories.
type faultSearch struct {
	seeds int
	limit time.Duration
}

func (f faultSearch) find(dir string) (string, error) {
	if err := builds(dir, "go", "vet", "./host/hosttest"); err != nil {
		return "", err
	}
	out, err := search(dir, f.seeds, f.limit)
	if err == nil {
		return "", nil
	}
	return reason(string(out)), nil
}

// attackRow is a row of scripts/attack, by name: it must fall.
type attackRow string

func (a attackRow) find(dir string) (string, error) {
	bin := filepath.Join(dir, "wasmhost.mutant")
	if err := builds(dir, "go", "build", "-o", bin, "./cmd/wasmhost"); err != nil {
		return "", err
	}
	c := exec.Command("go", "run", "./scripts/internal/attack", "--bin", bin, "--only", string(a)) // of the repository as it is
	out, err := c.CombinedOutput()
	for _, line := range strings.Split(string(out), "\n") {
		if err != nil && strings.HasPrefix(line, "FELL") {
			return "attack " + strings.Join(strings.Fields(line)[1:], " "), nil
		}
	}
	if err != nil {
		return "", fmt.Errorf("the attack %q did not run: %s", string(a), out)
	}
	return "", nil
}

// goTest is one test of a package: it must fail.
type goTest struct{ pkg, name string }

func (t goTest) find(dir string) (string, error) {
	if err := builds(dir, "go", "vet", t.pkg); err != nil {
		return "", err
	}
	c := exec.Command("go", "test", "-count=1", "-timeout", "3m", "-run", "^"+t.name+"$", t.pkg)
	c.Dir = dir
	out, err := c.CombinedOutput()
	switch {
	case err != nil:
		return "test " + t.name, nil
	case strings.Contains(string(out), "no tests to run"):
		return "", fmt.Errorf("%s has no test %s", t.pkg, t.name)
	}
	return "", nil
}

func builds(dir string, command ...string) error {
	c := exec.Command(command[0], command[1:]...)
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("it does not build: %s", out)
	}
	return nil
}
