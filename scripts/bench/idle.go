package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"strings"
)

// idleCounts is how many counters of each sort lie idle, each after one event. A
// process each is dear: of those there are few.
var idleCounts = map[string]int{"wazero": 10_000, "wasmhost": 10_000, "protoactor-go": 10_000, "Extism": 1_000, "go-plugin": 20}

// idleMemory measures what a counter costs that has nothing to do, in a process of
// its own for each contender.
func idleMemory(root string, rounds int) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	rounds = min(rounds, 3)
	table := comparison{name: "idle", n: idleCounts["wasmhost"], unit: "B"}
	list := spawners(root, nil)
	per := make([][]float64, len(list))
	var contenders []contender
	for i, s := range list {
		contenders = append(contenders, contender{name: fmt.Sprintf("%s: %d counters, resident bytes of each", s.short, idleCounts[s.short])})
		for range rounds {
			out, err := exec.Command(exe, "-root", root, "-idle", s.short).Output()
			if err != nil {
				return fmt.Errorf("%s: %w", s.short, err)
			}
			v, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
			if err != nil {
				return err
			}
			per[i] = append(per[i], v)
		}
	}
	table.report(contenders, per)
	return nil
}

// idleProcess makes the counters of one sort and prints what each of them costs.
func idleProcess(w io.Writer, root, short string) error {
	for _, s := range spawners(root, make([]byte, 64)) {
		if s.short != short {
			continue
		}
		make1, done, err := s.open()
		if err != nil {
			return err
		}
		debug.FreeOSMemory()
		before, err := resident()
		if err != nil {
			return err
		}
		n := idleCounts[short]
		var kept []any
		var ends []func() error
		for range n {
			k, end, err := make1()
			if err != nil {
				return err
			}
			kept, ends = append(kept, k), append(ends, end)
		}
		debug.FreeOSMemory()
		after, err := resident()
		fmt.Fprintln(w, float64(after-before)/float64(n))
		if short == "go-plugin" { // what is a process must be ended
			for _, end := range ends {
				err = errors.Join(err, end())
			}
		}
		_ = kept
		return errors.Join(err, done())
	}
	return fmt.Errorf("no contender %q", short)
}

// resident is what this process, and those that it started, hold of the memory.
func resident() (int64, error) {
	total, err := residentOf("self")
	if err != nil {
		return 0, err
	}
	self := strconv.Itoa(os.Getpid())
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue // no process, or one that has ended
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(fields) > 1 && fields[1] == self {
			of, err := residentOf(e.Name())
			if err != nil {
				return 0, err
			}
			total += of
		}
	}
	return total, nil
}

func residentOf(pid string) (int64, error) {
	b, err := os.ReadFile("/proc/" + pid + "/smaps_rollup")
	if err != nil {
		return 0, err
	}
	for _, line := range strings.Split(string(b), "\n") {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok { // shared pages count in part
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("the kernel does not say how much memory a process holds")
}
