// Command testsummary reads the output of go test -json and prints a line for
// each package, all that tests said that failed or did not end, and how many passed,
// failed and were skipped. It fails when a test failed or none ran.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
)

type event struct {
	Action, Package, Test, Output, ImportPath string
	Elapsed                                   float64
}

func main() {
	passed, failed, err := summarise(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testsummary:", err)
		os.Exit(2)
	}
	if failed > 0 || passed == 0 {
		os.Exit(1)
	}
}

func summarise(r io.Reader, w io.Writer) (passed, failed int, err error) {
	said := make(map[string][]string)
	running := make(map[string]string) // tests that have not ended, and their packages
	var bad []string
	skipped := 0
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 1<<20), 64<<20)
	for in.Scan() {
		var e event
		if err := json.Unmarshal(in.Bytes(), &e); err != nil {
			fmt.Fprintln(w, in.Text()) // a line of the tool's own
			continue
		}
		key := e.Package + " " + e.Test
		switch e.Action {
		case "run":
			running[key] = e.Package
		case "output":
			said[key] = append(said[key], e.Output)
		case "build-output":
			fmt.Fprint(w, e.Output)
		case "pass", "fail", "skip":
			if e.Test == "" {
				fmt.Fprintf(w, "%-5s %s (%.1fs)\n", e.Action, e.Package, e.Elapsed)
				if e.Action == "fail" {
					failed++ // a package that did not build, or died
					bad = append(bad, key)
					for test, pkg := range running { // it died in one of these, which has the stacks
						if pkg == e.Package {
							bad = append(bad, test)
						}
					}
				}
				continue
			}
			delete(running, key)
			switch e.Action {
			case "pass":
				passed++
				delete(said, key)
			case "skip":
				skipped++
			case "fail":
				failed++
				bad = append(bad, key)
			}
		}
	}
	sort.Strings(bad)
	for _, key := range bad {
		fmt.Fprintf(w, "\n--- %s\n%s", key, strings.Join(said[key], ""))
	}
	fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", passed, failed, skipped)
	return passed, failed, in.Err()
}
