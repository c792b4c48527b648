// Command rows reads which rows of the reference runtime's behaviour there are,
// looks through the tests for their ids, and prints which test shows which row.
// It fails when a row has neither a test nor a reason to be left out, when it has
// both, and when a test names a row that there is not.
package main

import (
	_ "embed"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

//go:embed rows.txt
var list string

func main() {
	root := flag.String("root", ".", "where the tests are")
	flag.Parse()
	rows, err := parseRows(list)
	if err != nil {
		fail(err)
	}
	tests, err := findTests(*root)
	if err != nil {
		fail(err)
	}
	if problems := report(os.Stdout, rows, tests); len(problems) > 0 {
		fmt.Printf("\n%s\n", strings.Join(problems, "\n"))
		os.Exit(1)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "rows:", err)
	os.Exit(2)
}

// kinds are the kinds of rows, in the order in which they are counted.
var kinds = []struct {
	letter byte
	name   string
}{{'R', "lifecycle"}, {'M', "migration"}, {'C', "channels"}, {'I', "identity"}, {'K', "chain and snapshot"}, {'F', "faults"}}

// report prints every row with its tests, and the counts, and returns what is
// wrong.
func report(w io.Writer, rows []row, tests []test) (problems []string) {
	shown := make(map[id][]string)
	known := make(map[id]bool)
	for _, r := range rows {
		known[r.id] = true
	}
	for _, t := range tests {
		for _, i := range t.ids {
			if !known[i] {
				problems = append(problems, fmt.Sprintf("%s names %s, and there is no such row", t, i))
			}
			if !slices.Contains(shown[i], t.String()) {
				shown[i] = append(shown[i], t.String())
			}
		}
	}
	covered, left, total := make(map[byte]int), make(map[byte]int), make(map[byte]int)
	for _, r := range rows {
		total[r.letter]++
		by := shown[r.id]
		switch {
		case len(by) > 0 && r.reason != "":
			problems = append(problems, fmt.Sprintf("%s is left out, and shown by %s", r.id, strings.Join(by, ", ")))
		case len(by) > 0:
			covered[r.letter]++
			fmt.Fprintf(w, "%-5s %s\n      %s\n", r.id, r.text, strings.Join(by, "\n      "))
		case r.reason != "":
			left[r.letter]++
			fmt.Fprintf(w, "%-5s %s\n      left out: %s\n", r.id, r.text, r.reason)
		default:
			problems = append(problems, fmt.Sprintf("%s has no test: %s", r.id, r.text))
		}
	}
	fmt.Fprintf(w, "\n%-20s %8s %8s %8s\n", "", "covered", "left out", "total")
	for _, k := range kinds {
		fmt.Fprintf(w, "%c %-18s %8d %8d %8d\n", k.letter, k.name, covered[k.letter], left[k.letter], total[k.letter])
	}
	return problems
}
