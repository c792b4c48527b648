package main

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// row is one contender's figure.
type row struct {
	name      string
	value     float64 // the median: nanoseconds for one, or bytes
	ratio     float64 // to the first, the median over the rounds
	low, high float64 // of the ratio
}

// table is a comparison that was made.
type table struct {
	name, unit string
	rounds, n  int
	rows       []row
}

var made []table // in this run

// report prints the figures of a comparison and keeps them for RESULTS.md.
func (c *comparison) report(contenders []contender, per [][]float64) {
	rounds := len(per[0])
	t := table{name: c.name, unit: c.unit, rounds: rounds, n: c.n}
	fmt.Printf("%s (%d rounds of %d)\n", c.name, rounds, c.n)
	for i, k := range contenders {
		ratios := make([]float64, rounds)
		for r := range ratios {
			ratios[r] = per[i][r] / per[0][r]
		}
		x := row{k.name, median(per[i]), median(ratios), slices.Min(ratios), slices.Max(ratios)}
		t.rows = append(t.rows, x)
		fmt.Printf("  %-58s %12s %13s   %8.2f times the first (%.2f to %.2f)\n", x.name, amount(x.value, c.unit), rate(x.value, c.unit), x.ratio, x.low, x.high)
	}
	made = append(made, t)
}

func amount(v float64, unit string) string {
	switch {
	case unit == "B" && v >= 1<<20:
		return fmt.Sprintf("%.1f MiB", v/(1<<20))
	case unit == "B" && v >= 10<<10:
		return fmt.Sprintf("%.0f KiB", v/(1<<10))
	case unit == "B":
		return fmt.Sprintf("%.0f B", v)
	case v >= 10e6:
		return fmt.Sprintf("%.0f ms", v/1e6)
	case v >= 10e3:
		return fmt.Sprintf("%.0f µs", v/1e3)
	}
	return fmt.Sprintf("%.0f ns", v)
}

func rate(v float64, unit string) string {
	if unit == "B" {
		return ""
	}
	return fmt.Sprintf("%.0f /s", 1e9/v)
}

// The tables stand in RESULTS.md between these lines; all else there is by hand.
const (
	begins = "<!-- made by scripts/bench/run -->"
	ends   = "<!-- end of what is made -->"
)

// keep writes the tables of this run into RESULTS.md, and the plot beside it.
func keep(dir string) error {
	path := filepath.Join(dir, "RESULTS.md")
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := bytes.Cut(old, []byte(begins))
	_, after, ok2 := bytes.Cut(rest, []byte(ends))
	if !ok || !ok2 {
		return fmt.Errorf("%s has no place for the tables, between %q and %q", path, begins, ends)
	}
	out := slices.Concat(before, []byte(begins+"\n"+markdown(made)+ends), after)
	if err := os.WriteFile(path, out, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "results.svg"), []byte(plot(made)), 0o644)
}

func markdown(tables []table) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s/%s, %d processors, %s. The spread is that of the ratio over the rounds.\n\n![Times the first contender, logarithmic](results.svg)\n",
		time.Now().UTC().Format("2006-01-02"), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version())
	for _, t := range tables {
		fmt.Fprintf(&b, "\n### %s\n\n%d rounds of %d.\n\n| contender | median | ratio | spread |\n|---|---:|---:|---:|\n", t.name, t.rounds, t.n)
		for _, r := range t.rows {
			fmt.Fprintf(&b, "| %s | %s | %.2f | %.2f to %.2f |\n", strings.ReplaceAll(r.name, "|", "\\|"), amount(r.value, t.unit), r.ratio, r.low, r.high)
		}
	}
	return b.String()
}

// plot is the ratios as bars on a logarithmic scale, with their spreads, as SVG.
func plot(tables []table) string {
	const left, width, line, head = 430, 420, 18, 30
	low, high := 1.0, 1.0
	lines := 0
	for _, t := range tables {
		lines += len(t.rows)
		for _, r := range t.rows {
			low, high = min(low, r.low), max(high, r.high)
		}
	}
	from, to := math.Floor(math.Log10(low)), math.Ceil(math.Log10(high))
	if to == from {
		to++
	}
	x := func(v float64) float64 { return left + (math.Log10(v)-from)/(to-from)*width }
	height := lines*line + len(tables)*head + 40
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="11">`+"\n", left+width+90, height, left+width+90, height)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="#ffffff"/>`+"\n")
	for p := from; p <= to; p++ {
		at := x(math.Pow(10, p))
		fmt.Fprintf(&b, `<path d="M%.1f 10V%d" stroke="#dddddd"/><text x="%.1f" y="%d" text-anchor="middle" fill="#555555">%g</text>`+"\n", at, height-24, at, height-10, math.Pow(10, p))
	}
	y := 12
	for _, t := range tables {
		y += head
		fmt.Fprintf(&b, `<text x="8" y="%d" font-weight="bold">%s</text>`+"\n", y-6, html.EscapeString(t.name))
		for _, r := range t.rows {
			fill := "#9aa5b8"
			if strings.HasPrefix(r.name, "wasmhost") || strings.Contains(r.name, "wasmhost:") {
				fill = "#5540c4"
			}
			a, z := min(x(1), x(r.ratio)), max(x(1), x(r.ratio))
			fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text><rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"/><path d="M%.1f %dH%.1f" stroke="#1b1b24"/><text x="%.1f" y="%d">%.2f</text>`+"\n",
				left-8, y+12, html.EscapeString(r.name), a, y+3, max(1, z-a), line-6, fill, x(r.low), y+line/2, x(r.high), max(z, x(r.high))+6, y+12, r.ratio)
			y += line
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}
