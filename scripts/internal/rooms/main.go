// Command rooms shows the rooms of the house: each package with its size, beside the
// caps, and what is not as the table says. It fails where anything is.
package main

import (
	"flag"
	"fmt"
	"os"
	"text/tabwriter"

	"wasmhost.example/internal/rooms"
)

func main() {
	root := flag.String("root", ".", "where the module is")
	flag.Parse()
	faults, err := show(*root)
	if err != nil {
		fmt.Fprintln(os.Stderr, "rooms:", err)
		os.Exit(2)
	}
	if len(faults) > 0 {
		os.Exit(1)
	}
}

// show prints the packages, and returns what is not as it is to be.
func show(root string) ([]string, error) {
	table, err := rooms.Table()
	if err != nil {
		return nil, err
	}
	packages, err := rooms.Measure(root)
	if err != nil {
		return nil, err
	}

	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "lines\tof at most\ttests\texported\tmethods\tof at most\tlongest\tblank\tcomments\t \tpackage")
	for i := range packages {
		p := &packages[i]
		room := table[p.Dir]
		fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d %%\t%d %%\t \t%s\n", p.Lines, room.Lines, p.Tests, p.Exported, p.Methods, room.Methods, p.Longest,
			share(p.Blank, p.Body), share(p.Comments, p.Lines), p.Dir)
	}
	if err := w.Flush(); err != nil {
		return nil, err
	}

	faults := rooms.Check(table, packages)
	fmt.Printf("\n%d packages; methods: of the type that exports most; longest: lines of a function; blank: of the lines in functions\n", len(packages))
	for _, fault := range faults {
		fmt.Println(fault)
	}
	fmt.Printf("%d faults: imports that run the wrong way, caps that are passed\n", len(faults))
	return faults, nil
}

// share is n of all, in percent.
func share(n, all int) int {
	if all == 0 {
		return 0
	}
	return (100*n + all/2) / all
}
