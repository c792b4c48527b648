package serve

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"time"

	"wasmhost.example/abi"
	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/host/registry"
	"wasmhost.example/node"
)

// CompileCommand is the argument by which a node runs its own program again, to
// compile one module. Users do not call it.
const CompileCommand = "compile-child"

// childMark is set in the environment of a child, which then starts no child itself. A test's
// program without a TestMain does not know CompileCommand: it would start itself without end.
const childMark = "WASMHOST_COMPILE_CHILD"

// Exit codes of that program, beside 0.
const (
	childRefused = 20 // standard output has the abi.Refusal
	childMemory  = 21
	childCPU     = 22
	ChildOrphan  = 23 // its node is gone
	childError   = 24 // standard output has the error
)

// watchEvery is how often a compile is held against its limits.
const watchEvery = 50 * time.Millisecond

// Children compile modules in processes of this program: a registry.Compiler.
type Children struct{}

// Compile implements registry.Compiler.
func (Children) Compile(ctx context.Context, job registry.CompileJob) (use registry.CompileUse, err error) {
	runtime.LockOSThread() // Linux ends the child when the thread that started it ends
	defer runtime.UnlockOSThread()
	if job.Limits.Wall > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, job.Limits.Wall, errWall)
		defer cancel()
	}

	cmd, in, err := startChild(job)
	if err != nil {
		return use, fmt.Errorf("%w: %w", registry.ErrNoCompiler, err)
	}

	go func() {
		_, _ = in.Write(job.Wasm) // a child that ends before it read all says why
	}()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	watch := time.NewTicker(watchEvery)
	defer watch.Stop()
	over := ""

wait:
	for {
		select {
		case err = <-ended:
			break wait
		case <-ctx.Done():
			over = "ended"
			_ = cmd.Process.Kill() // it may have ended
			err = <-ended
			break wait

		case <-watch.C:
			now := resident(cmd.Process.Pid)
			if use.Memory = max(use.Memory, now); job.Limits.Memory > 0 && now > job.Limits.Memory && over == "" {
				over = registry.CompileMemory
				_ = cmd.Process.Kill()
			}
		}
	}

	_ = in.Close()
	state := cmd.ProcessState
	use.CPU = state.UserTime() + state.SystemTime()
	return use, outcome(ctx, job, use, over, state.ExitCode(), cmd.Stdout.(*limited).Bytes(), err)
}

var errWall = errors.New("the time is over")

// outcome says what became of a child.
func outcome(ctx context.Context, job registry.CompileJob, use registry.CompileUse, over string, code int, said []byte, err error) error {
	fail := func(limit, format string, args ...any) error {
		return &registry.CompileError{Digest: sha256.Sum256(job.Wasm), Limit: limit, Text: fmt.Sprintf(format, args...)}
	}
	l := job.Limits

	switch {
	case over == "ended" && errors.Is(context.Cause(ctx), errWall):
		return fail(registry.CompileWall, "it took %v, the limit", l.Wall)
	case over == "ended":
		return context.Cause(ctx)
	case over == registry.CompileMemory, code == childMemory:
		return fail(registry.CompileMemory, "it took %s of memory, the limit is %s", cli.Size(max(use.Memory, l.Memory)), cli.Size(l.Memory))
	case code == childCPU, code == -1 && l.CPU > 0 && use.CPU >= l.CPU:
		return fail(registry.CompileCPU, "it took %v of processor time, the limit is %v", use.CPU.Round(time.Millisecond), l.CPU)
	case err == nil:
		return nil
	case code == childRefused:
		var r abi.Refusal
		if err := json.Unmarshal(said, &r); err != nil {
			return fail(registry.CompileCrash, "what it said cannot be read: %v", err)
		}
		return &r
	}

	return fail(registry.CompileCrash, "the compiler ended with %v: %.400q", err, said)
}

// startChild starts a child that compiles the job's module, which it takes from
// in. It ends when in does.
func startChild(job registry.CompileJob) (cmd *exec.Cmd, in *os.File, err error) {
	if os.Getenv(childMark) != "" {
		return nil, nil, errors.New("a compile child starts no others: its program does not know " + CompileCommand)
	}

	exe, err := ownProgram()
	if err != nil {
		return nil, nil, err
	}

	dir, err := filepath.Abs(job.Dir)
	if err != nil {
		return nil, nil, err
	}

	theirs, in, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}

	defer theirs.Close()
	cmd = exec.Command(exe, CompileCommand, dir, strconv.Itoa(len(job.Wasm)), strconv.FormatInt(job.Limits.Memory, 10), job.Limits.CPU.String())
	cmd.Args[0] = os.Args[0]
	cmd.Env = []string{"GOMAXPROCS=1", "GOTRACEBACK=none", childMark + "=1"} // nothing of the node's
	cmd.Dir = dir
	out := &limited{}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, out, out
	cmd.WaitDelay = time.Second
	endWithParent(cmd)
	if err := cmd.Start(); err != nil {
		return nil, nil, errors.Join(err, in.Close())
	}

	return cmd, in, nil
}

// limited keeps the first bytes that are written to it.
type limited struct{ bytes.Buffer }

func (l *limited) Write(b []byte) (int, error) {
	const most = 16 << 10
	if room := most - l.Len(); room > 0 {
		l.Buffer.Write(b[:min(len(b), room)])
	}
	return len(b), nil
}

// CompileChild is the program that children start: it compiles the module on
// standard input into a folder, and returns the exit code.
func CompileChild(args []string, in io.Reader, out io.Writer) int {
	fail := func(err error) int {
		fmt.Fprint(out, err)
		return childError
	}
	if len(args) != 4 {
		return fail(errors.New("a node calls this, nobody else"))
	}

	length, err := strconv.Atoi(args[1])
	memory, memoryErr := strconv.ParseInt(args[2], 10, 64)
	cpu, cpuErr := time.ParseDuration(args[3])
	if err := errors.Join(err, memoryErr, cpuErr); err != nil || length < 0 {
		return fail(fmt.Errorf("%q: %w", args, err))
	}

	giveWay(cpu)
	if memory > 0 {
		debug.SetMemoryLimit(memory - memory/8)
	}

	go watchSelf(memory, cpu)
	wasm := make([]byte, length)
	if _, err := io.ReadFull(in, wasm); err != nil {
		return ChildOrphan
	}

	go func() {
		_, _ = in.Read(make([]byte, 1)) // ends when the node does
		os.Exit(ChildOrphan)
	}()

	err = registry.CompileInto(context.Background(), wasm, args[0])
	var refusal *abi.Refusal
	if errors.As(err, &refusal) {
		if err := json.NewEncoder(out).Encode(refusal); err != nil {
			return childError
		}
		return childRefused
	}

	if err != nil {
		return fail(err)
	}
	return 0
}

// watchSelf ends the program when it goes over a limit; 0 is none.
func watchSelf(memory int64, cpu time.Duration) {
	in := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	for range time.Tick(watchEvery) {
		metrics.Read(in)
		if memory > 0 && int64(in[0].Value.Uint64()-in[1].Value.Uint64()) > memory {
			os.Exit(childMemory)
		}
		if cpu > 0 && usedCPU() > cpu {
			os.Exit(childCPU)
		}
	}
}

// compileOptions are the settings of compiling.
type compileOptions struct{ memory, time string }

// CompileDefaults are the settings where nothing says otherwise.
func CompileDefaults() compileOptions {
	return compileOptions{memory: cli.SettingOf("compile-memory").Def, time: cli.SettingOf("compile-time").Def}
}

// Apply gives the runtime the program's way to compile.
func (o compileOptions) Apply(to *node.Config) error {
	memory, err := cli.ParseSize(o.memory)
	if err != nil || memory < 64<<20 {
		return cli.Usagef("--compile-memory %q: at least 64MiB", o.memory)
	}

	took, err := time.ParseDuration(o.time)
	if err != nil || took < time.Second {
		return cli.Usagef("--compile-time %q: at least 1s", o.time)
	}

	to.Compiler, to.CompileLimits = Children{}, registry.CompileLimits{Memory: memory, CPU: took, Wall: 5 * took}
	return nil
}
