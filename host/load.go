package host

import (
	"bytes"
	"io/fs"
	"os"
	"path"
	"runtime"
	"strconv"
)

// Load is how much of the machine is taken.
type Load struct {
	FreeMemory  int64   // bytes that can be taken without swapping, within the process's control group; 0: not known
	TotalMemory int64   // bytes; 0: not known
	Threads     float64 // that run or want to, for each processor, over the last minute; below 0: not known
}

// ReadLoad asks the kernel. What it does not say is not known.
func ReadLoad() Load { return readLoad(os.DirFS("/")) }

func readLoad(root fs.FS) Load {
	l := Load{Threads: -1}
	if b, err := fs.ReadFile(root, "proc/meminfo"); err == nil {
		l.TotalMemory, l.FreeMemory = kibibytes(b, "MemTotal:"), kibibytes(b, "MemAvailable:")
	}
	if limit, used, ok := groupMemory(root); ok && (l.TotalMemory == 0 || limit < l.TotalMemory) {
		free := max(limit-used, 0)
		if l.TotalMemory == 0 || free < l.FreeMemory {
			l.FreeMemory = free
		}
		l.TotalMemory = limit
	}
	if b, err := fs.ReadFile(root, "proc/loadavg"); err == nil {
		first, _, _ := bytes.Cut(b, []byte(" "))
		if n, err := strconv.ParseFloat(string(first), 64); err == nil && n >= 0 {
			l.Threads = n / float64(runtime.NumCPU())
		}
	}
	return l
}

// kibibytes reads a line of /proc/meminfo, in bytes; 0 where there is none.
func kibibytes(meminfo []byte, name string) int64 {
	for line := range bytes.Lines(meminfo) {
		if rest, ok := bytes.CutPrefix(line, []byte(name)); ok {
			if f := bytes.Fields(rest); len(f) == 2 {
				if n, err := strconv.ParseInt(string(f[0]), 10, 64); err == nil && n >= 0 && n < 1<<50 {
					return n << 10
				}
			}
		}
	}
	return 0
}

// groupMemory is the least limit of the process's control group (version 2) and
// those above it, and what that group has taken.
func groupMemory(root fs.FS) (limit, used int64, ok bool) {
	b, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0, 0, false
	}
	for line := range bytes.Lines(b) {
		group, is := bytes.CutPrefix(bytes.TrimSpace(line), []byte("0::"))
		if !is {
			continue
		}
		for dir := path.Join("sys/fs/cgroup", path.Clean("/"+string(group))); ; dir = path.Dir(dir) {
			most, err := readInt(root, path.Join(dir, "memory.max")) // "max" where there is no limit
			if err == nil && (!ok || most < limit) {
				if now, err := readInt(root, path.Join(dir, "memory.current")); err == nil {
					limit, used, ok = most, now, true
				}
			}
			if dir == "sys/fs/cgroup" || dir == "." {
				break
			}
		}
	}
	return limit, used, ok
}

func readInt(root fs.FS, name string) (int64, error) {
	b, err := fs.ReadFile(root, name)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(string(bytes.TrimSpace(b)), 10, 64)
}
