// Package doctor has the verbs that look at this machine: doctor and bench.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/cmd/wasmhost/serve"
	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/registry"
)

// finding is one thing that doctor looked at.
type finding struct {
	Check string `json:"check"`
	OK    bool   `json:"ok"`
	Found string `json:"found"`
	Costs string `json:"costs,omitempty"` // what is lost where it is not well
	Mend  string `json:"mend,omitempty"`  // the command that mends it
}

// Doctor is the command doctor.
func Doctor(a *cli.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Check this machine, and how near a node is to its bounds",
		Long: `Check what this machine gives to a node: each check with what it costs where
it is not well, and the command that mends it. Where a node answers at --socket or
--url, also how much it uses of each bound on the bytes that it holds for callers, the
most that it has used, and whether callers wait or were refused; inspect shows the same
of one daemon. Nothing is changed; what is written to measure the disk, in the directory
that --data would be in, is removed again. The exit code is 0 whatever is found: a node
runs on any of these machines.`,
		Example: "  wasmhost doctor\n  wasmhost doctor --data /var/lib/wasmhost -o json",
		Args:    cli.Exact(0),
		RunE: func(c *cobra.Command, _ []string) error {
			list := append(examine(), examineData(c.Flag("data").Value.String())...)
			list = append(list, examineLimits(a))
			list = append(list, examineNode(a, c.Context())...)
			return cli.PrintList(a, list, "CHECK\tOK\tFOUND\tCOSTS\tMEND", func(f finding) string {
				return fmt.Sprintf("%s\t%t\t%s\t%s\t%s", f.Check, f.OK, f.Found, f.Costs, f.Mend)
			}, func(f finding) string { return f.Check })
		},
	}

	cli.AddSetting(c.Flags(), "data", "")
	return c
}

func examine() []finding {
	m := host.LookAtMachine()
	memories := finding{Check: "memories", OK: m.Heap == nil, Found: "copy-on-write views of images, by memfd and page-map scan"}
	if !memories.OK {
		memories.Found = "on the heap: " + m.Heap.Error()
		memories.Costs = "a spawn copies its module's memory, and failed events and snapshots compare all of it"
		memories.Mend = "run Linux 6.7 or later, and allow memfd_create in the container's seccomp profile"
	}

	notes := finding{Check: "write notes", OK: m.Notes, Found: "userfaultfd notes writes"}
	if !notes.OK {
		notes.Found = "userfaultfd is not to be had"
		notes.Costs = "daemons with much memory are looked through at each mark"
		notes.Mend = "allow the system call in the container's seccomp profile"
	}

	const daemons = 20_000
	mappings := finding{Check: "mappings", OK: m.Mapped >= daemons || m.Heap != nil, Found: fmt.Sprintf("%d daemons can be mapped at a time", m.Mapped)}
	if !mappings.OK {
		mappings.Costs = "daemons beyond that are packed and unpacked, some 20 µs each time"
		mappings.Mend = "sysctl -w vm.max_map_count=262144"
	}

	return []finding{memories, notes, mappings, udp("rmem"), udp("wmem"), openFiles(), clockSource(), examineCompiler()}
}

// examineLimits compares the limits that the settings give to the node, and to kinds and
// daemons by name, with one another.
func examineLimits(a *cli.App) finding {
	f := finding{Check: "limits", OK: true, Found: "those of the settings fit one another"}
	node, err := daemon.ParseNodeLimits(a.FileLimits())
	errs := []error{err}
	seen := make(map[string]bool)

	for _, v := range a.Settings {
		parts := strings.Split(v.Key, ".")
		if len(parts) < 4 || !cli.LimitTable(parts[0]) {
			continue
		}

		of := strings.Join(parts[1:len(parts)-2], ".")
		if table := parts[0] + "." + of; !seen[table] {
			seen[table] = true
			own, err := daemon.ParseLimits(a.FileLimits(parts[0], of))
			if err == nil {
				err = own.FitOn(node)
			}

			if err != nil {
				errs = append(errs, fmt.Errorf("%s %s: %w", parts[0], of, err))
			}
		}
	}

	if err := errors.Join(errs...); err != nil {
		f.OK, f.Found = false, cli.OneLine(err.Error())
		f.Costs = "the node does not start, or the push or spawn is refused"
		f.Mend = "set in wasmhost.toml what the text says"
	}
	return f
}

// examineNode looks at the node that answers. None does where none runs, which is well.
func examineNode(a *cli.App, ctx context.Context) []finding {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	n, err := a.Client().Node().Get(ctx)

	switch {
	case errors.Is(err, client.ErrNoNode):
		return nil
	case err != nil:
		return []finding{{Check: "node", Found: "it cannot be asked: " + err.Error(), Costs: "what it uses of its bounds is not known",
			Mend: "wasmhost node ls, whose error says what to do"}}
	}

	return examineBudgets(n.Budgets)
}

// examineBudgets looks at what a node uses of its bounds.
func examineBudgets(budgets []api.NodeBudget) []finding {
	var out []finding
	for _, b := range budgets {
		f := finding{Check: "room for " + b.Name, OK: b.Waiting == 0 && b.Refused == 0,
			Found: fmt.Sprintf("%s of %s, at most %s since the node started", cli.Size(b.Used), cli.Size(b.Most), cli.Size(b.Peak))}
		if !f.OK {
			f.Found += fmt.Sprintf("; %d callers wait, %d requests were refused", b.Waiting, b.Refused)
			f.Costs = "callers wait for one another, or are answered 503"
			f.Mend = "wasmhost top, for what takes it"
		}

		out = append(out, f)
	}

	return out
}

// udp looks at the largest buffer that a UDP socket can have.
func udp(which string) finding {
	const want = 7500 << 10 // what quic-go asks for
	f := finding{Check: "udp " + which}
	b, err := os.ReadFile("/proc/sys/net/core/" + which + "_max")
	if err != nil {
		f.OK, f.Found = true, "not known on this system"
		return f
	}

	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	f.OK, f.Found = err == nil && n >= want, fmt.Sprintf("at most %s", cli.Size(int64(n)))
	if !f.OK {
		f.Costs = "migrations over fast links lose packets, and take longer"
		f.Mend = fmt.Sprintf("sysctl -w net.core.%s_max=%d", which, want)
	}

	return f
}

// openFiles looks at how many files this program may open. Go raises the soft
// limit to the hard one by itself.
func openFiles() finding {
	const want = 4096 // tables of the store, streams of callers
	n, ok := fileLimit()
	f := finding{Check: "open files", OK: !ok || n >= want, Found: "not known on this system"}
	if ok {
		f.Found = fmt.Sprintf("at most %d", n)
	}

	if !f.OK {
		f.Costs = "with many followers and a large store, opening files and connections fails"
		f.Mend = fmt.Sprintf("ulimit -Hn %d, or LimitNOFILE=%d in the unit", 65536, 65536)
	}
	return f
}

// clockSource looks at where the kernel's clock is from: events are stamped by
// it.
func clockSource() finding {
	f := finding{Check: "clock", OK: true, Found: "not known on this system"}
	dir := "/sys/devices/system/clocksource/clocksource0/"
	b, err := os.ReadFile(dir + "current_clocksource")
	if err != nil {
		return f
	}

	name := strings.TrimSpace(string(b))
	f.Found = name
	fast := []string{"tsc", "arch_sys_counter", "kvm-clock", "hyperv_clocksource_tsc_page"}
	if f.OK = slices.Contains(fast, name); !f.OK {
		f.Costs = "reading the clock is a system call: an event takes a microsecond longer"
		f.Mend = "echo tsc > " + dir + "current_clocksource, where available_clocksource has it"
	}

	if ahead, known := clockError(); known && ahead > time.Second {
		f.OK, f.Found = false, fmt.Sprintf("%s; it may be wrong by %v", name, ahead.Round(time.Millisecond))
		f.Costs = "tokens expire early or late, and receipts of two nodes disagree in their times"
		f.Mend = "timedatectl set-ntp true"
	}
	return f
}

// examineData looks at the data directory, or where it would be.
func examineData(dir string) []finding {
	if dir == "" {
		return nil
	}

	at := existing(dir)
	out := []finding{diskSync(at)}
	if at == dir {
		out = append(out, keyModes(dir))
	}
	return out
}

// existing is the directory, or the one above it that there is.
func existing(dir string) string {
	for {
		if st, err := os.Stat(dir); err == nil && st.IsDir() {
			return dir
		}

		parent := filepath.Dir(dir)
		if parent == dir {
			return dir
		}

		dir = parent
	}
}

// diskSync measures how long a small write takes until it is durable.
func diskSync(dir string) finding {
	const want = 20 * time.Millisecond
	f := finding{Check: "disk sync"}
	median, worst, err := measureSync(dir, 15)
	if err != nil {
		f.Found = "cannot be measured: " + err.Error()
		f.Costs = "nothing can be made durable there"
		f.Mend = "give --data a directory that this user may write"
		return f
	}

	f.OK, f.Found = median <= want, fmt.Sprintf("%v, at worst %v, in %s", median.Round(10*time.Microsecond), worst.Round(10*time.Microsecond), dir)
	if !f.OK {
		f.Costs = "each acknowledgement waits for so long, though many share one sync"
		f.Mend = "put --data on a disk with power-loss protection, and nothing else on it"
	}
	return f
}

func measureSync(dir string, times int) (median, worst time.Duration, err error) {
	file, err := os.CreateTemp(dir, ".wasmhost-doctor-*")
	if err != nil {
		return 0, 0, err
	}

	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	var took []time.Duration
	for range times {
		began := time.Now()
		if _, err := file.Write(make([]byte, 512)); err != nil {
			return 0, 0, err
		}
		if err := file.Sync(); err != nil {
			return 0, 0, err
		}

		took = append(took, time.Since(began))
	}

	slices.Sort(took)
	return took[len(took)/2], took[len(took)-1], nil
}

// keyModes looks at who may read the keys in a data directory.
func keyModes(dir string) finding {
	f := finding{Check: "key files", OK: true, Found: "for their owner alone"}
	var open []string
	for _, name := range []string{".", "node.key", "api.key"} {
		st, err := os.Stat(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			f.OK, f.Found = false, err.Error()
			return f
		}

		if st.Mode().Perm()&0o077 != 0 {
			open = append(open, filepath.Join(dir, name))
		}
	}

	if len(open) > 0 {
		f.OK, f.Found = false, fmt.Sprintf("open to others: %s", strings.Join(open, ", "))
		f.Costs = "who has the node's key is the node, and opens the keys of its daemons"
		f.Mend = "chmod go= " + strings.Join(open, " ")
	}
	return f
}

// examineCompiler looks at whether a module can be compiled in a process of its
// own.
func examineCompiler() finding {
	f := finding{Check: "compiler", OK: true, Found: "modules are compiled in a process of their own"}
	dir, err := os.MkdirTemp("", "wasmhost-doctor-")
	if err == nil {
		_, err = serve.Children{}.Compile(context.Background(), registry.CompileJob{Wasm: []byte("\x00asm\x01\x00\x00\x00"), Dir: dir, Limits: registry.DefaultCompileLimits})
		err = errors.Join(err, os.RemoveAll(dir))
	}

	if err != nil {
		f.OK, f.Found = false, "no process can be started to compile in: "+strings.ReplaceAll(err.Error(), "\n", "; ")
		f.Costs = fmt.Sprintf("modules of more than %s are refused, and compiling one can take the node's memory", cli.Size(registry.MaxInProcess))
		f.Mend = "let the node's user run the program itself, and mount /proc"
	}
	return f
}
