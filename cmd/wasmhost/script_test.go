package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"wasmhost.example/cmd/wasmhost/serve"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == serve.CompileCommand {
		os.Exit(run())
	}
	// Under the race detector every command would wait a second before it ends.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE")); err != nil {
		panic(err)
	}
	testscript.Main(m, map[string]func(){"wasmhost": main})
}

// TestScripts runs the command line as a user does: testdata/script. Beyond
// testscript's own commands there are:
//
//	node NAME [FLAG...]   start a node; sets NAME_SOCKET, NAME_ID and NAME_DATA
//	cramped NAME KIB      start a node whose files cannot grow beyond that
//	join NAME FILE        start a node that joins with the token in a file
//	faults DAEMON EVENT...  send events that must each fail with exit code 9
//	halt NAME             end it as SIGTERM does
//	halt-with NAME CODE   end it as SIGTERM does, with that exit code
//	hang-up NAME          send it SIGHUP
//	logs NAME REGEXP      wait until the node has logged it
//	crash NAME            end it as a crash does
//	gives-up NAME         wait until it has ended by itself, with an error
//	exits CODE CMD...     run a command that must exit with CODE
//	flip FILE             change one bit in the middle of a file
//	same FILE JSONPATH=VALUE...  compare fields of a JSON file
func TestScripts(t *testing.T) {
	wasm, err := filepath.Abs(filepath.Join("..", "..", "testdata", "wasm"))
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(e *testscript.Env) error {
			e.Setenv("WASM", wasm)
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("GOCACHE", goCache())
			e.Setenv("GORACE", os.Getenv("GORACE"))
			e.Setenv("WASMHOST_SOCKET", filepath.Join(e.WorkDir, "a.sock"))
			e.Values["nodes"] = make(map[string]*exec.Cmd)
			e.Setenv("COLLECTOR", collect(e, filepath.Join(e.WorkDir, "spans")))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"node": startNode, "cramped": cramped, "gives-up": givesUp, "halt": endNode(syscall.SIGTERM), "hang-up": hangUp, "logs": logs, "halt-with": haltWith, "crash": endNode(syscall.SIGKILL), "exits": exits, "join": join, "member": member, "faults": faults, "flip": flip, "same": same,
		},
	})
}

// goCache is where this machine keeps what Go built; a script's HOME is its own.
func goCache() string {
	if dir := os.Getenv("GOCACHE"); dir != "" {
		return dir
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "go-build")
}

// collect is a collector of traces that keeps what it gets in a file.
func collect(e *testscript.Env, path string) string {
	var mu sync.Mutex
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err == nil {
			_, err = io.Copy(f, r.Body)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}))
	e.Defer(s.Close)
	return s.URL
}

func nodes(ts *testscript.TestScript) map[string]*exec.Cmd {
	return ts.Value("nodes").(map[string]*exec.Cmd)
}

func startNode(ts *testscript.TestScript, neg bool, args []string) {
	name := args[0]
	socket, data := ts.MkAbs(name+".sock"), ts.MkAbs(name+".data")
	flags := append([]string{"serve", "--listen", "127.0.0.1:0", "--socket", socket, "--name", name}, args[1:]...)
	if !slices.Contains(args, "--ephemeral") {
		flags = append(flags, "--data", data)
	}
	runNode(ts, name, exec.Command("wasmhost", flags...))
}

func cramped(ts *testscript.TestScript, _ bool, args []string) {
	name := args[0]
	runNode(ts, name, exec.Command("bash", "-c", `ulimit -f $0 && exec wasmhost "$@"`, args[1],
		"serve", "--listen", "127.0.0.1:0", "--socket", ts.MkAbs(name+".sock"), "--name", name, "--data", ts.MkAbs(name+".data")))
}

// runNode waits until the node is ready.
func runNode(ts *testscript.TestScript, name string, cmd *exec.Cmd) {
	socket, data := ts.MkAbs(name+".sock"), ts.MkAbs(name+".data")
	cmd.Dir = ts.MkAbs(".") // where wasmhost.toml may be
	cmd.Env = append(os.Environ(), "HOME="+ts.Getenv("HOME"))
	log, err := os.Create(ts.MkAbs(name + ".log"))
	ts.Check(err)
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	nodes(ts)[name] = cmd
	ts.Defer(func() {
		if nodes(ts)[name] == cmd {
			endNode(syscall.SIGTERM)(ts, false, []string{name})
		}
	})
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		ts.Fatalf("node %s did not start: %s", name, ts.ReadFile(name+".log"))
	}
	var ready struct {
		NodeID string `json:"node_id"`
		Addr   string
		Socket string
		PID    int

		API, Metrics, Pprof string
	}
	ts.Check(json.Unmarshal(line, &ready))
	if ready.NodeID == "" || ready.Addr == "" || ready.Socket != socket || ready.PID != cmd.Process.Pid {
		ts.Fatalf("node %s announced %s", name, line)
	}
	ts.Setenv(name+"_SOCKET", socket)
	ts.Setenv(name+"_ID", ready.NodeID)
	ts.Setenv(name+"_API", ready.API)
	ts.Setenv(name+"_METRICS", ready.Metrics)
	ts.Setenv(name+"_PPROF", ready.Pprof)
	ts.Setenv(name+"_DATA", data)
}

func join(ts *testscript.TestScript, neg bool, args []string) {
	startNode(ts, neg, append([]string{args[0], "--ephemeral", "--join", strings.TrimSpace(ts.ReadFile(args[1]))}, args[2:]...))
}

// member starts a node of a's cluster.
func member(ts *testscript.TestScript, neg bool, args []string) {
	startNode(ts, neg, []string{args[0], "--cluster", "--lease", "500ms", "--join", strings.TrimSpace(ts.ReadFile(args[1]))})
}

func faults(ts *testscript.TestScript, neg bool, args []string) {
	for _, event := range args[1:] {
		exits(ts, neg, []string{"9", "wasmhost", "send", args[0], "--data", event})
	}
}

func endNode(sig syscall.Signal) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, _ bool, args []string) {
		cmd := nodes(ts)[args[0]]
		delete(nodes(ts), args[0])
		ts.Check(cmd.Process.Signal(sig))
		err := cmd.Wait()
		if sig == syscall.SIGTERM && err != nil {
			ts.Fatalf("node %s ended with %v: %s", args[0], err, ts.ReadFile(args[0]+".log"))
		}
	}
}

func hangUp(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(nodes(ts)[args[0]].Process.Signal(syscall.SIGHUP))
}

func logs(ts *testscript.TestScript, _ bool, args []string) {
	want := regexp.MustCompile(args[1])
	for until := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		log := ts.ReadFile(args[0] + ".log")
		if want.MatchString(log) {
			return
		}
		if time.Now().After(until) {
			ts.Fatalf("node %s does not log %s: %s", args[0], args[1], log)
		}
	}
}

func haltWith(ts *testscript.TestScript, _ bool, args []string) {
	cmd := nodes(ts)[args[0]]
	delete(nodes(ts), args[0])
	ts.Check(cmd.Process.Signal(syscall.SIGTERM))
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || fmt.Sprint(exit.ExitCode()) != args[1] {
		ts.Fatalf("node %s ended with %v, want exit code %s: %s", args[0], err, args[1], ts.ReadFile(args[0]+".log"))
	}
}

func givesUp(ts *testscript.TestScript, _ bool, args []string) {
	cmd := nodes(ts)[args[0]]
	delete(nodes(ts), args[0])
	if err := cmd.Wait(); err == nil {
		ts.Fatalf("node %s ended as if all were well", args[0])
	}
}

func exits(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	code := "0"
	if err != nil {
		code = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if code != args[0] {
		ts.Fatalf("%v exited with %s, want %s", args[1:], code, args[0])
	}
}

func flip(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	b, err := os.ReadFile(path)
	ts.Check(err)
	b[len(b)/2] ^= 1
	ts.Check(os.WriteFile(path, b, 0o600))
}

func same(ts *testscript.TestScript, _ bool, args []string) {
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &v))
	for _, a := range args[1:] {
		path, want, _ := strings.Cut(a, "=")
		at := v
		for _, key := range strings.Split(path, ".") {
			switch x := at.(type) {
			case map[string]any:
				at = x[key]
			case []any:
				i := int(key[0] - '0')
				if i >= len(x) {
					ts.Fatalf("%s has %d elements", path, len(x))
				}
				at = x[i]
			}
		}
		b, err := json.Marshal(at)
		ts.Check(err)
		if got := strings.Trim(string(b), `"`); got != want {
			ts.Fatalf("%s is %s, want %s", path, got, want)
		}
	}
}
