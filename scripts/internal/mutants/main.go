// Command mutants breaks the runtime in one way after another, in a copy of
// the repository, and runs the fault search on each: every mutant must be
// found out. It fails when one survives.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// mutant replaces old, which must be in file once, by new; and so on with more.
type mutant struct {
	name, file, old, new string
	more                 []edit
}

// hunt is a mutant and what is to find it; nil: the fault search.
type hunt struct {
	mutant
	by finder
}

type edit struct{ file, old, new string }

var searched = []mutant{
	{"apply events while paused for a hand-over", "host/internal/lifecycle/admission.go",
		"case q.State == Migrating:", "case false:", nil},
	{"acknowledge before it is durable", "host/internal/pending/pending.go",
		"if err := p.Ticket.Wait(ctx); err != nil {", "if err := error(nil); err != nil {", nil},
	{"release before it is durable", "host/internal/engine/moving.go",
		"err = d.env.Store.Commit(b)\n\tswitch {", "d.env.Store.Submit(b, func(error) {})\n\tswitch {", nil},
	{"own before it is durable", "host/migration/target/activate.go",
		"if err := in.env.Store.Commit(b); err != nil {\n\t\t\treturn migration.Failf(migration.StoreFailed, \"%v\", err)\n\t\t}\n\t}\n\tin.of.losses.Show",
		"in.env.Store.Submit(b, func(error) {})\n\t}\n\tin.of.losses.Show", nil},
	{"prepare before it is durable", "host/migration/target/restore.go",
		"if err := <-durable; err != nil {", "if err := error(nil); err != nil {", nil},
	{"serve on after the release", "host/resume.go",
		"if d.Position().State.Serves() {\n\t\t\td.Pause()", "if r == nil {\n\t\t\td.Pause()", nil},
	{"forget a release at a restart", "host/recover.go",
		"if err := r.recoverOutgoing(); err != nil {", "if err := error(nil); err != nil {", nil},
	{"forget a prepared daemon at a restart", "host/recover.go",
		"return r.arrivals.Recover(ctx, r.table.PutArrival)", "return nil", nil},
	{"drop a prepared daemon when in doubt", "host/migration/target/activate.go",
		"case err != nil:\n\t\tin.InDoubt()", "case err != nil:\n\t\tin.Discard(migration.Source)", nil},
	{"stay paused after a failed migration", "host/internal/engine/moving.go",
		"x.EndTail()\n\td.Resume()", "x.EndTail()", nil},
	{"forget the horizon", "host/internal/engine/process.go",
		"d.horizon.Advance(sender, number, at)\n}", "}", nil},
	{"leave the horizon out of snapshots", "host/internal/engine/snapshot.go",
		"x.d.headerWith(form, x.d.horizon.List())", "x.d.headerWith(form, []snapshot.SenderMark{})", nil},
	{"hand over without the last records", "host/migration/source/rounds.go",
		"r.Records = int(c.To - c.From)", "if last {\n\t\tc.Records, c.To = nil, c.From\n\t}\n\tr.Records = int(c.To - c.From)", []edit{
			{"host/migration/source/rounds.go", "if !bytes.Equal(p.Root, root[:]) {", "if bytes.Equal(nil, root[:]) {"},
			{"host/migration/source/rounds.go", "if chain.Hash(p.Head) != s.head.Hash || p.Applied != s.head.Applied || p.Sequence != s.head.Sequence {", "if chain.Hash(p.Head) != chain.Hash(p.Head) {"},
			{"host/migration/target/activate.go", "rel.Sequence != d.Position().Head.Sequence || !bytes.Equal(rel.Head, head[:])", "bytes.Equal(nil, head[:])"},
			{"host/migration/target/terms.go", "c.Head != head ||", "false ||"}}},
	{"answer a repeat with nothing", "host/internal/engine/repeat.go",
		"p.Result.Outputs, p.Err = f.Outputs, f.Err", "_ = f", nil},
	{"leave no tombstone", "host/stop.go",
		"if err := t.Bury(b, d.Entity()); err != nil {\n\t\treturn nil, err\n\t}\n\tif word", "if word", nil},
}

// hunts are those for which CI has the time; with all, every one.
func hunts(all bool) []hunt {
	var list []hunt
	for _, m := range searched {
		list = append(list, hunt{mutant: m})
	}
	list = append(list, mended...)
	if all {
		list = append(list, more...)
	}
	return list
}

func main() {
	seeds := flag.Int("seeds", 1000, "stories for each mutant")
	all := flag.Bool("all", false, "also those that take longer than CI has")
	only := flag.String("only", "", "run the mutants whose name contains this")
	flag.Parse()
	if err := os.Setenv("GOFLAGS", "-trimpath"); err != nil { // what a mutant leaves alone is built once, wherever its copy is
		fmt.Fprintf(os.Stderr, "mutants: %v\n", err)
		os.Exit(2)
	}
	var chosen []hunt
	stories := false
	for _, m := range hunts(*all || *only != "") {
		if strings.Contains(m.name, *only) {
			chosen = append(chosen, m)
			stories = stories || m.by == nil
		}
	}
	var limit time.Duration
	if stories {
		var err error
		if limit, err = baseline(*seeds); err != nil {
			fmt.Fprintf(os.Stderr, "mutants: %v\n", err)
			os.Exit(2)
		}
	}
	killed, total := 0, 0
	for _, m := range chosen {
		total++
		start := time.Now()
		if m.by == nil {
			m.by = faultSearch{*seeds, limit}
		}
		how, err := m.try(m.by)
		if err != nil {
			fmt.Fprintf(os.Stderr, "mutants: %s: %v\n", m.name, err)
			os.Exit(2)
		}
		verdict := "SURVIVED"
		if how != "" {
			verdict = "killed"
			killed++
		}
		fmt.Printf("%-9s %-55s %4.0f s  %s\n", verdict, m.name, time.Since(start).Seconds(), how)
	}
	fmt.Printf("%d of %d mutants killed\n", killed, total)
	if killed < total || total == 0 {
		os.Exit(1)
	}
}

// baseline searches the unbroken runtime and returns how long a mutant's search
// may take: one that takes many times as long does not end, which is a fault
// that was found.
func baseline(seeds int) (time.Duration, error) {
	start := time.Now()
	if out, err := search(".", seeds, 10*time.Minute); err != nil {
		return 0, fmt.Errorf("the search finds a fault in the runtime as it is: %s", reason(string(out)))
	}
	return max(time.Minute, 6*time.Since(start)).Round(time.Second), nil
}

func search(dir string, seeds int, limit time.Duration) ([]byte, error) {
	c := exec.Command("go", "test", "-count=1", "-timeout", limit.String(), "-run", "^TestFaultSearch$", "./host/hosttest",
		"-args", "-shrink=false", fmt.Sprintf("-seeds=%d", seeds))
	c.Dir = dir
	return c.CombinedOutput()
}

// try returns how the mutant was found out; empty when it was not.
func (m mutant) try(by finder) (string, error) {
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	if err := copyTree(dir); err != nil {
		return "", err
	}
	for _, e := range append([]edit{{m.file, m.old, m.new}}, m.more...) {
		path := filepath.Join(dir, filepath.FromSlash(e.file))
		src, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		if n := bytes.Count(src, []byte(e.old)); n != 1 {
			return "", fmt.Errorf("%s has %q %d times", e.file, e.old, n)
		}
		if err := os.WriteFile(path, bytes.Replace(src, []byte(e.old), []byte(e.new), 1), 0o600); err != nil {
			return "", err
		}
	}
	return by.find(dir)
}

// reason is the first thing that went wrong.
func reason(out string) string {
	lines := strings.Split(out, "\n")
	for i, l := range lines {
		switch l = strings.TrimSpace(l); {
		case strings.Contains(l, "seed ") && strings.HasSuffix(l, ":") && i+1 < len(lines):
			return strings.TrimSpace(lines[i+1])
		case strings.HasPrefix(l, "panic:"), strings.HasPrefix(l, "fatal error:"):
			return l
		}
	}
	return strings.TrimSpace(out)
}

// copyTree copies what the search needs of the repository.
func copyTree(to string) error {
	all, err := os.ReadDir(".")
	if err != nil {
		return err
	}
	for _, e := range all {
		top := e.Name()
		if strings.HasPrefix(top, ".") || top == "bin" || top == "dist" || top == "docs" || top == "scripts" {
			continue
		}
		err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			dst := filepath.Join(to, path)
			if d.IsDir() {
				return os.MkdirAll(dst, 0o700)
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(dst, b, 0o600)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
