// Command testsummary reads the output of go test -json while it is written, and prints a
// line for each package that is done, all that tests said that failed or did not end, and
// how many passed, failed and were skipped. When no package was done for a while it says
// which tests run. It fails when a test failed or none ran. An interrupt does not end it:
// it ends with its input.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sort"
	"strings"
	"time"
)

// patience is how long nothing is printed before the tests that run are.
const patience = 30 * time.Second

type event struct {
	Action, Package, Test, Output, ImportPath string
	Elapsed                                   float64
}

func main() {
	packages := flag.Int("packages", 0, "how many packages there are, at least")
	log := flag.String("log", "", "a file that gets a copy of the input")
	flag.Parse()
	signal.Ignore(os.Interrupt)
	failed, err := run(*log, *packages)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testsummary:", err)
		os.Exit(2)
	}
	if failed {
		os.Exit(1)
	}
}

func run(log string, packages int) (failed bool, err error) {
	in := io.Reader(os.Stdin)
	if log != "" {
		f, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return false, err
		}
		defer func() {
			if e := f.Close(); err == nil {
				err = e
			}
		}()
		in = io.TeeReader(in, f)
	}
	s := &summary{w: os.Stdout, packages: packages, clock: time.Now()}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	err = s.read(in, tick.C)
	return s.failed > 0 || s.passed == 0, err
}

// test is a test that runs.
type test struct {
	pkg, name string
	since     time.Time
}

// summary is what is known so far. One goroutine uses it.
type summary struct {
	w        io.Writer
	packages int       // at least; 0: not known
	clock    time.Time // of the last tick

	done, passed, failed, skipped int

	said    map[string][]string
	running map[string]test // that have not ended
	bad     []string
	printed time.Time
}

// read reads until r ends. Each tick it looks whether to say what runs.
func (s *summary) read(r io.Reader, tick <-chan time.Time) error {
	s.said, s.running, s.printed = make(map[string][]string), make(map[string]test), s.clock
	lines, ended := make(chan string), make(chan error, 1)
	go func() {
		in := bufio.NewScanner(r)
		in.Buffer(make([]byte, 1<<20), 64<<20)
		for in.Scan() {
			lines <- in.Text()
		}
		ended <- in.Err()
		close(lines)
	}()
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				s.end()
				return <-ended
			}
			s.line(line)
		case s.clock = <-tick:
			s.wait()
		}
	}
}

func (s *summary) say(format string, args ...any) {
	s.printed = s.clock
	fmt.Fprintf(s.w, format, args...)
}

// line takes a line of go test's.
func (s *summary) line(text string) {
	var e event
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		s.say("%s\n", text) // a line of the tool's own
		return
	}

	key := e.Package + " " + e.Test
	switch e.Action {
	case "run":
		s.running[key] = test{e.Package, e.Test, s.clock}
	case "output":
		s.said[key] = append(s.said[key], e.Output)
	case "build-output":
		s.say("%s", e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			s.packageDone(e)
		} else {
			s.testDone(e, key)
		}
	}
}

// packageDone counts a package. One that failed did so by its tests, or did not build, or
// died in one of those that run, which have the stacks.
func (s *summary) packageDone(e event) {
	s.done++
	of := ""
	if s.packages > 0 {
		of = fmt.Sprintf("%d/%d ", s.done, max(s.packages, s.done))
	}
	s.say("%s%-5s %s (%.1fs)\n", of, e.Action, e.Package, e.Elapsed)
	if e.Action != "fail" {
		return
	}
	s.failed++
	s.bad = append(s.bad, e.Package+" ")
	for key, t := range s.running {
		if t.pkg == e.Package {
			s.bad = append(s.bad, key)
		}
	}
}

func (s *summary) testDone(e event, key string) {
	delete(s.running, key)
	switch e.Action {
	case "pass":
		s.passed++
		delete(s.said, key)
	case "skip":
		s.skipped++
	case "fail":
		s.failed++
		s.bad = append(s.bad, key)
	}
}

// wait says which test runs longest, where nothing was said for a while.
func (s *summary) wait() {
	if s.clock.Sub(s.printed) < patience {
		return
	}
	var oldest *test
	for _, t := range s.running {
		if oldest == nil || t.since.Before(oldest.since) || t.since.Equal(oldest.since) && t.name < oldest.name {
			oldest = &t
		}
	}
	if oldest == nil {
		s.say("... no test runs: packages are built; %d passed\n", s.passed)
		return
	}
	s.say("... %s %s runs for %ds; %d passed, %d run\n", oldest.pkg, oldest.name, int(s.clock.Sub(oldest.since).Seconds()), s.passed, len(s.running))
}

// end prints what failed, what did not end, and the count.
func (s *summary) end() {
	sort.Strings(s.bad)
	for _, key := range s.bad {
		fmt.Fprintf(s.w, "\n--- %s\n%s", key, strings.Join(s.said[key], ""))
	}
	fmt.Fprintf(s.w, "%d passed, %d failed, %d skipped\n", s.passed, s.failed, s.skipped)
}
