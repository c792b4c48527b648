package fleet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// FreeAddr is an address of this machine whose port is free now, for UDP and for TCP. It
// is below those that the system gives to who asks for any: a node that is started again
// finds it free still.
func FreeAddr() (string, error) {
	const from, to, tries = 20_000, 32_000, 100
	var err error
	for range tries {
		addr := fmt.Sprintf("127.0.0.1:%d", from+rand.IntN(to-from))
		var udp net.PacketConn
		if udp, err = net.ListenPacket("udp", addr); err != nil {
			continue
		}
		var tcp net.Listener
		if tcp, err = net.Listen("tcp", addr); err != nil {
			err = errors.Join(err, udp.Close())
			continue
		}
		return addr, errors.Join(udp.Close(), tcp.Close())
	}
	return "", fmt.Errorf("no port is free: %w", err)
}

// Usage is what a node's process and its data directory hold.
type Usage struct {
	Resident   int64 // bytes of memory that are its own
	Goroutines int64
	Files      int64 // descriptors that are open
	Disk       int64 // bytes
}

// Usage measures the node, which must run.
func (n *Node) Usage(ctx context.Context) (u Usage, err error) {
	n.mu.Lock()
	cmd := n.cmd
	n.mu.Unlock()
	if cmd == nil {
		return u, fmt.Errorf("node %s does not run", n.Name)
	}
	dir := filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid))
	files, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		return u, fmt.Errorf("measuring node %s: %w", n.Name, err)
	}
	u.Files = int64(len(files))
	if u.Resident, err = anonymous(filepath.Join(dir, "status")); err != nil {
		return u, fmt.Errorf("measuring node %s: %w", n.Name, err)
	}
	if u.Goroutines, err = n.metric(ctx, "go_goroutines"); err != nil {
		return u, fmt.Errorf("measuring node %s: %w", n.Name, err)
	}
	u.Disk, err = diskUsage(filepath.Join(n.dir, n.Name))
	return u, err
}

// anonymous is how much memory a process holds that is no file's: what the kernel
// keeps of files it can let go of at any time.
func anonymous(status string) (int64, error) {
	b, err := os.ReadFile(status)
	if err != nil {
		return 0, err
	}
	total := int64(-1)
	for _, line := range strings.Split(string(b), "\n") {
		name, rest, _ := strings.Cut(line, ":")
		if f := strings.Fields(rest); (name == "RssAnon" || name == "RssShmem") && len(f) == 2 {
			kib, err := strconv.ParseInt(f[0], 10, 64)
			if err != nil {
				return 0, err
			}
			total = max(total, 0) + kib<<10
		}
	}
	if total < 0 {
		return 0, errors.New("the kernel does not say what memory the process holds")
	}
	return total, nil
}

// Get asks the node's API for what is at the path, and returns the body, which the caller
// closes. An answer other than 200 is an error.
func (n *Node) Get(ctx context.Context, path string) (io.ReadCloser, error) {
	t := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", n.socket)
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://node"+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := t.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		said, err := io.ReadAll(io.LimitReader(res.Body, 4096))
		return nil, errors.Join(fmt.Errorf("node %s answers %s to %s: %s", n.Name, res.Status, path, said), err, res.Body.Close())
	}
	return res.Body, nil
}

// metric reads one metric without labels.
func (n *Node) metric(ctx context.Context, name string) (int64, error) {
	body, err := n.Get(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			v, err := strconv.ParseFloat(text, 64)
			return int64(v), err
		}
	}
	return 0, errors.Join(fmt.Errorf("no metric %s", name), lines.Err())
}

// diskUsage is what the files of a folder hold. Files that go meanwhile do not count.
func diskUsage(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		st, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			total += st.Size()
		}
		return err
	})
	return total, err
}
