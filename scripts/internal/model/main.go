package main

import (
	"fmt"
	"os"
)

func main() {
	r := explore(none)
	if r.violated != "" {
		fmt.Printf("the model: %s, after %d steps\n", r.violated, len(r.trace))
		for _, line := range r.trace {
			fmt.Println("  " + line)
		}
		os.Exit(1)
	}
	fmt.Printf("the model: %d states, %d transitions: one side serves at most, one owns it, the source is silent after its release,\n"+
		"  nothing acknowledged is lost, nothing is applied twice, and from every state it can settle\n", r.states, r.transitions)
	caught := 0
	for _, d := range defects {
		r := explore(d)
		if r.violated == "" {
			fmt.Printf("broken by %s: NOT CAUGHT\n", d)
			continue
		}
		caught++
		fmt.Printf("broken by %-23s caught after %2d steps: %s\n", d+":", len(r.trace), r.violated)
	}
	fmt.Printf("%d of %d broken twins caught\n", caught, len(defects))
	if caught < len(defects) {
		os.Exit(1)
	}
}
