package host

import (
	"runtime"
	"testing"
	"testing/fstest"
)

func TestReadLoad(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	meminfo := file("MemTotal:       8192 kB\nMemFree:         100 kB\nMemAvailable:   4096 kB\n")
	for name, c := range map[string]struct {
		root fstest.MapFS
		want Load
	}{
		"nothing": {fstest.MapFS{}, Load{Threads: -1}},
		"the machine": {fstest.MapFS{"proc/meminfo": meminfo, "proc/loadavg": file("3.00 1.00 0.50 1/2 3\n")},
			Load{FreeMemory: 4 << 20, TotalMemory: 8 << 20, Threads: 3 / float64(runtime.NumCPU())}},
		"the group's limit": {fstest.MapFS{"proc/meminfo": meminfo, "proc/self/cgroup": file("0::/a/b\n"),
			"sys/fs/cgroup/a/memory.max": file("1000\n"), "sys/fs/cgroup/a/memory.current": file("400\n"), "sys/fs/cgroup/a/b/memory.max": file("max\n")},
			Load{FreeMemory: 600, TotalMemory: 1000, Threads: -1}},
		"a group over its limit": {fstest.MapFS{"proc/self/cgroup": file("12:cpu:/x\n0::/\n"),
			"sys/fs/cgroup/memory.max": file("10"), "sys/fs/cgroup/memory.current": file("20")}, Load{TotalMemory: 10, Threads: -1}},
		"a group's limit above the machine": {fstest.MapFS{"proc/meminfo": meminfo, "proc/self/cgroup": file("0::/\n"),
			"sys/fs/cgroup/memory.max": file("99999999999"), "sys/fs/cgroup/memory.current": file("0")}, Load{FreeMemory: 4 << 20, TotalMemory: 8 << 20, Threads: -1}},
		"nonsense": {fstest.MapFS{"proc/meminfo": file("MemTotal: many kB\nMemAvailable:\n"), "proc/loadavg": file("much"), "proc/self/cgroup": file("0::../..\n"),
			"sys/fs/cgroup/memory.max": file("-")}, Load{Threads: -1}},
	} {
		if got := readLoad(c.root); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
	if l := ReadLoad(); l.Threads < -1 || l.FreeMemory > l.TotalMemory {
		t.Errorf("this machine: %+v", l)
	}
}
