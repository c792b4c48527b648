package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"wasmhost/host"
)

// finding is one thing that doctor looked at.
type finding struct {
	Check string `json:"check"`
	OK    bool   `json:"ok"`
	Found string `json:"found"`
	Costs string `json:"costs,omitempty"` // what is lost where it is not well
	Mend  string `json:"mend,omitempty"`  // the command that mends it
}

func (a *app) doctor() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Look at what this machine gives to a node",
		Long: `Look at what this machine gives to a node: each check with what it costs where
it is not well, and the command that mends it. Nothing is changed. The exit code is
0 whatever is found: a node runs on any of these machines.`,
		Example: "  wasmhost doctor -o json",
		Args:    exact(0),
		RunE: func(*cobra.Command, []string) error {
			list := examine()
			return printList(a, list, "CHECK\tOK\tFOUND\tCOSTS\tMEND", func(f finding) string {
				return fmt.Sprintf("%s\t%t\t%s\t%s\t%s", f.Check, f.OK, f.Found, f.Costs, f.Mend)
			}, func(f finding) string { return f.Check })
		},
	}
}

func examine() []finding {
	m := host.LookAtMachine()
	memories := finding{Check: "memories", OK: m.Heap == nil, Found: "copy-on-write views of images"}
	if !memories.OK {
		memories.Found = "on the heap: " + m.Heap.Error()
		memories.Costs = "a spawn copies its module's memory, and failed events and snapshots compare all of it"
		memories.Mend = "run Linux 6.7 or later"
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
	return []finding{memories, notes, mappings, udp("rmem"), udp("wmem")}
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
	f.OK, f.Found = err == nil && n >= want, fmt.Sprintf("at most %s", size(int64(n)))
	if !f.OK {
		f.Costs = "migrations over fast links lose packets, and take longer"
		f.Mend = fmt.Sprintf("sysctl -w net.core.%s_max=%d", which, want)
	}
	return f
}
