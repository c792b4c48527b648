// Command attack tries to take a node down, to deceive it and to cheat its daemons:
// with guests, loads, clients and peers made for that. Each row of its table is one
// attack; it fails when one is not refused by name, changes what it may not change, or
// makes the node's other users wait. Run it by scripts/attack.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"
)

// attacks are all rows, in the order in which they run.
func attacks() []attack {
	var all []attack
	for _, group := range [][]attack{guestAttacks, loadAttacks, clientAttacks, peerAttacks} {
		all = append(all, group...)
	}
	return all
}

func main() {
	bin := flag.String("bin", "", "the program wasmhost")
	only := flag.String("only", "", "run the attacks whose name contains this")
	list := flag.Bool("list", false, "list the attacks and end")
	keep := flag.Bool("keep", false, "keep the nodes' directories and logs")
	flag.Parse()
	if *list {
		for _, a := range attacks() {
			fmt.Printf("%-28s %s\n", a.name, a.tries)
		}
		return
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	dir, err := os.MkdirTemp("", "wasmhost-attack-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "attack:", err)
		os.Exit(1)
	}

	start := time.Now()
	passed, failed := 0, 0
	fmt.Printf("%-6s %-28s %-44s %8s %9s %9s\n", "", "attack", "what the node said", "pause", "light p99", "peak")
	for _, a := range attacks() {
		if !strings.Contains(a.name, *only) || ctx.Err() != nil {
			continue
		}
		r, err := a.try(ctx, dir, *bin)
		verdict := "held"
		if err != nil {
			verdict = "FELL"
			failed++
		} else {
			passed++
		}
		fmt.Printf("%-6s %-28s %-44s %5d ms %6d ms %5d MiB\n", verdict, a.name, clip(r.said, 44), r.pause.Milliseconds(), r.p99.Milliseconds(), r.peak>>20)
		if err != nil {
			fmt.Printf("       tried: %s\n       said:  %s\n       fault: %v\n", a.tries, r.said, err)
		}
	}
	fmt.Printf("%d passed, %d failed\n", passed, failed)
	fmt.Printf("attack: %.0f s\n", time.Since(start).Seconds())

	if failed == 0 && !*keep {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, "attack:", err)
			os.Exit(1)
		}
	} else {
		fmt.Println("attack: directories and logs are in", dir)
	}
	if failed > 0 || passed == 0 {
		os.Exit(1)
	}
}

func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
