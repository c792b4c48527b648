package main

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
)

// pair is two nodes, processes of their own on the loopback, and the ways to them.
type pair struct {
	dir   string
	nodes [2]*node
	to    [2]*client.Client
	names [2]string
}

func newPair(root string) (*pair, error) {
	dir, err := os.MkdirTemp("", "wasmhost-bench")
	if err != nil {
		return nil, err
	}
	p := &pair{dir: dir, names: [2]string{"a", "b"}}
	bin := filepath.Join(dir, "wasmhost")
	build := exec.Command("go", "build", "-o", bin, "./cmd/wasmhost")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	token := ""
	for i, name := range p.names {
		if p.nodes[i], err = serve(bin, dir, name, strings.TrimSpace(token)); err != nil {
			return nil, errors.Join(err, p.close())
		}
		p.to[i] = client.Dial(p.nodes[i].socket)
		if token, err = p.nodes[i].client("node", "token"); err != nil {
			return nil, errors.Join(err, p.close())
		}
	}
	for name, file := range map[string]string{"heap": "c/heap.wasm", "go": "go/wordcount.wasm"} {
		_, err := p.nodes[0].client("kind", "push", name, filepath.Join(root, "testdata", "wasm", file), "--limit", "state-bytes=1GiB", "--limit", "memory=1GiB")
		if err != nil {
			return nil, errors.Join(err, p.close())
		}
	}
	return p, nil
}

func (p *pair) close() error {
	var err error
	for _, n := range p.nodes {
		if n != nil {
			err = errors.Join(err, n.stop())
		}
	}
	return errors.Join(err, os.RemoveAll(p.dir))
}

// spawn makes a daemon and sends it events.
func (p *pair) spawn(kind, name string, events ...string) error {
	if _, err := p.to[0].Spawn(ctx, api.Spawn{Kind: kind, Name: name}); err != nil {
		return err
	}
	for _, e := range events {
		if s, err := p.to[0].Send(ctx, name, "", []byte(e)); err != nil {
			return err
		} else if s.Error != nil {
			return s.Error
		}
	}
	return nil
}

// move moves the daemon to node k, and returns the report and how long the
// command took.
func (p *pair) move(name string, k int) (*api.MigrationReport, time.Duration, error) {
	began := time.Now()
	rep, err := p.to[1-k].Migrate(ctx, name, api.Migrate{To: p.names[k]}, func(api.MigrationStep) {})
	return rep, time.Since(began), err
}

// streams puts one stream beside four, for as many bytes.
func streams(raw *raw, rounds int) error {
	var ratios []float64
	for range min(rounds, 7) {
		one, err := raw.send(256 << 20)
		if err != nil {
			return err
		}
		began, failed := time.Now(), make(chan error, 4)
		for range 4 {
			go func() {
				_, err := raw.send(64 << 20)
				failed <- err
			}()
		}
		for range 4 {
			err = errors.Join(err, <-failed)
		}
		if err != nil {
			return err
		}
		ratios = append(ratios, float64(one)/float64(time.Since(began)))
	}
	fmt.Printf("  256 MiB over four streams of one QUIC connection: %.2f times the rate of one stream (%.2f to %.2f)\n", median(ratios), slices.Min(ratios), slices.Max(ratios))
	return nil
}

func phase(r *api.MigrationReport, name string) float64 {
	for _, p := range r.Phases {
		if p.Phase == name {
			return p.MS
		}
	}
	return 0
}

// migrations measures moves between two processes.
func migrations(root string, rounds int) (err error) {
	p, err := newPair(root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	raw, err := startRaw()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, raw.close()) }()
	fmt.Printf("migrate (%d rounds; two processes)\n", rounds)
	if err := streams(raw, min(rounds, 3)); err != nil {
		return err
	}
	for _, c := range []struct {
		name   string
		events []string
		mib    int
	}{
		{"512 MiB that do not compress", slices.Repeat([]string{"r 64"}, 8), 512},
		{"64 MiB that do", []string{"t 64"}, 64},
	} {
		name := fmt.Sprintf("m%d", c.mib)
		if err := p.spawn("heap", name, c.events...); err != nil {
			return err
		}
		var ratios, moved, plain []float64
		for round := range min(rounds, 7) + 1 {
			bare, err := raw.send(c.mib << 20)
			if err != nil {
				return err
			}
			rep, _, err := p.move(name, 1-round%2)
			if err != nil {
				return err
			}
			if round == 0 {
				continue
			}
			t := phase(rep, "transfer")
			moved, plain = append(moved, t), append(plain, ms(bare))
			ratios = append(ratios, ms(bare)/t)
		}
		fmt.Printf("  transfer of %-32s %8.0f ms; as many bytes over a bare QUIC stream %8.0f ms; rate %5.2f times the bare one's (%.2f to %.2f)\n",
			c.name, median(moved), median(plain), median(ratios), slices.Min(ratios), slices.Max(ratios))
		if _, err := p.nodes[0].client("stop", name, "--yes"); err != nil {
			return err
		}
	}
	if err := p.spawn("go", "idle", "a word or two"); err != nil {
		return err
	}
	var whole, down []float64
	for round := range max(rounds, 20) {
		rep, took, err := p.move("idle", 1-round%2)
		if err != nil {
			return err
		}
		if round > 1 {
			whole, down = append(whole, ms(took)), append(down, rep.DowntimeMS)
		}
	}
	fmt.Printf("  an idle stock-Go daemon, its image known there: %.1f ms in all (p99 %.1f), of these %.1f ms of downtime\n", median(whole), top(whole), median(down))
	for _, c := range []struct {
		name, fill, event string
		every             time.Duration
	}{
		{"1 MiB", "r 1", "w 1", 2 * time.Millisecond},
		{"64 MiB, 1 % of its pages written a second", "r 64", "w 1", 6 * time.Millisecond},
	} {
		if err := p.downtime(c.name, c.fill, c.event, c.every, max(4*rounds, 40)); err != nil {
			return err
		}
	}
	return nil
}

// answered is an event's way, as its sender saw it.
type answered struct{ sent, came time.Time }

// downtime moves a daemon to and fro while a sender waits for each answer. It
// looks at the longest wait of each move: around the pause, and at any time, for
// what moves also takes processors and the disk.
func (p *pair) downtime(name, fill, event string, every time.Duration, moves int) error {
	daemon := "d" + strings.ReplaceAll(fill, " ", "")
	if err := p.spawn("heap", daemon, fill); err != nil {
		return err
	}
	var mu sync.Mutex
	var all []answered
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(all)
	}
	stop, done := make(chan struct{}), make(chan error, 1)
	var last time.Time // when the event that is under way was sent
	go func() {
		acked := make(chan struct{}, 1)
		acked <- struct{}{}
		done <- p.to[0].SendAll(ctx, daemon, "", func() ([]byte, error) {
			<-acked
			timer := time.NewTimer(every)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-stop:
				return nil, io.EOF
			}
			last = time.Now()
			return []byte(event), nil
		}, func(s api.Sent) error {
			if s.Error != nil {
				return s.Error
			}
			mu.Lock()
			all = append(all, answered{last, time.Now()})
			mu.Unlock()
			acked <- struct{}{}
			return nil
		})
	}()
	more := func(n int) {
		for before := count(); count() < before+n; {
			time.Sleep(time.Millisecond)
		}
	}
	var pauses, waits, down, whole []float64
	for m := range moves {
		more(10) // in peace
		first := count()
		var paused time.Time // no later than that
		rep, err := p.to[m%2].Migrate(ctx, daemon, api.Migrate{To: p.names[1-m%2]}, func(s api.MigrationStep) {
			if s.Phase == "replay" {
				paused = time.Now()
			}
		})
		if err != nil {
			return err
		}
		more(3)
		mu.Lock()
		some := all[first:]
		all = nil
		mu.Unlock()
		if m <= 1 {
			continue
		}
		pause, wait := time.Duration(0), time.Duration(0)
		for _, a := range some {
			took := a.came.Sub(a.sent)
			if wait = max(wait, took); a.came.After(paused) {
				pause = max(pause, took)
			}
		}
		total := 0.0
		for _, ph := range rep.Phases {
			total += ph.MS
		}
		pauses, waits, down, whole = append(pauses, ms(pause)), append(waits, ms(wait)), append(down, rep.DowntimeMS), append(whole, total)
	}
	close(stop)
	if err := <-done; err != nil {
		return err
	}
	ratios := make([]float64, len(pauses))
	for k := range pauses {
		ratios[k] = whole[k] / pauses[k]
	}
	fmt.Printf("  %-44s a sender's longest wait around the pause %5.1f ms (p99 %5.1f), at any time %5.1f ms (p99 %5.1f); downtime by the receipt %5.1f ms; had it stopped first %6.1f ms, %.1f times as long\n",
		name, median(pauses), top(pauses), median(waits), top(waits), median(down), median(whole), median(ratios))
	_, err := p.nodes[0].client("stop", daemon, "--yes")
	return err
}

func top(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[(len(v)*99+99)/100-1]
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// raw is a QUIC connection to another process that takes bytes and drops them.
type raw struct {
	cmd  *exec.Cmd
	conn *quic.Conn
}

func rawConfig() *quic.Config {
	return &quic.Config{KeepAlivePeriod: 5 * time.Second, InitialStreamReceiveWindow: 1 << 20, MaxStreamReceiveWindow: 8 << 20, InitialConnectionReceiveWindow: 2 << 20, MaxConnectionReceiveWindow: 32 << 20}
}

func startRaw() (*raw, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	r := &raw{cmd: exec.Command(self, "-sink")}
	r.cmd.Stderr = os.Stderr
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, err
	}
	r.conn, err = quic.DialAddr(ctx, strings.TrimSpace(addr), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"sink"}}, rawConfig())
	return r, err
}

func (r *raw) close() error {
	_ = r.conn.CloseWithError(0, "") // it is of no further use
	return errors.Join(r.cmd.Process.Kill(), ignoreExit(r.cmd.Wait()))
}

func ignoreExit(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

// send sends n bytes over one stream, and returns how long it took until all had
// come.
func (r *raw) send(n int) (time.Duration, error) {
	s, err := r.conn.OpenStreamSync(ctx)
	if err != nil {
		return 0, err
	}
	chunk := make([]byte, 512<<10)
	if _, err := rand.Read(chunk); err != nil {
		return 0, err
	}
	began := time.Now()
	for ; n > 0; n -= len(chunk) {
		if _, err := s.Write(chunk[:min(n, len(chunk))]); err != nil {
			return 0, err
		}
	}
	if err := s.Close(); err != nil {
		return 0, err
	}
	if _, err := io.ReadAll(s); err != nil {
		return 0, err
	}
	return time.Since(began), nil
}

// sink takes streams, reads them to their end and says so.
func sink() error {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, pub, priv)
	if err != nil {
		return err
	}
	l, err := quic.ListenAddr("127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: priv}}, NextProtos: []string{"sink"}}, rawConfig())
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	conn, err := l.Accept(context.Background())
	if err != nil {
		return err
	}
	for {
		s, err := conn.AcceptStream(context.Background())
		if err != nil {
			return nil // the other side is gone
		}
		go func() {
			if _, err := io.Copy(io.Discard, s); err == nil {
				_ = s.Close() // whoever waits for it sees that it does not come
			}
		}()
	}
}
