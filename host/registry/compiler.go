package registry

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"wasmhost.example/host/internal/sandbox"
)

// Compiler makes native code of modules outside of this process, so that what
// a module costs can be bounded and ended. A library never runs its embedder
// again by itself: the program that embeds it knows how.
type Compiler interface {
	// Compile has another process call CompileInto, and waits for its end. It
	// ends that process when ctx is done, and when it goes over a limit: the
	// error then is a *CompileError. An *abi.Refusal says what is wrong with the
	// module. ErrNoCompiler: no process can be started here. Use is what it
	// took, whatever the error.
	Compile(ctx context.Context, job CompileJob) (CompileUse, error)
}

// CompileJob is one module to be compiled.
type CompileJob struct {
	Wasm   []byte // not to be changed
	Dir    string // empty folder, which CompileInto fills
	Limits CompileLimits
}

// CompileUse is what compiling took.
type CompileUse struct {
	CPU    time.Duration
	Memory int64 // bytes at the most, as far as it was seen
}

// CompileLimits bound the compiling of one module. A zero field of a CompileJob
// is no bound; in Options it is that of DefaultCompileLimits.
type CompileLimits struct {
	Memory int64         // bytes that are resident
	CPU    time.Duration // of all cores together
	Wall   time.Duration
}

// DefaultCompileLimits bound the compiling of one module.
var DefaultCompileLimits = CompileLimits{Memory: 2 << 30, CPU: 2 * time.Minute, Wall: 10 * time.Minute}

// MaxInProcess is how many bytes a module may have that is compiled in this
// process: where there is no Compiler, or it cannot start a process.
const MaxInProcess = 8 << 20

// maxInProcessWork bounds those by abi.Shape.Work, which is the time that the
// dearest of them take.
const maxInProcessWork = 60 * time.Second

// ErrNoCompiler says that no process can be started to compile in.
var ErrNoCompiler = errors.New("no process can be started to compile in")

// ErrCompileBudget says that compiling a module takes more than it may.
var ErrCompileBudget = errors.New("compiling the module takes more than it may")

// ErrCompileQueue says that too many modules wait to be compiled.
var ErrCompileQueue = errors.New("too many modules wait to be compiled")

// What a CompileError can be of.
const (
	CompileMemory    = "memory"
	CompileCPU       = "cpu"
	CompileWall      = "wall"
	CompileInProcess = "in-process" // no process can be started, and the module is not small
	CompileCrash     = "crash"      // the compiler ended by itself
)

// CompileError says which limit compiling a module reached. It wraps
// ErrCompileBudget.
type CompileError struct {
	Digest [32]byte // of the module
	Limit  string   // one of the constants above
	Text   string   // what was reached, with the limit
}

func (e *CompileError) Error() string {
	return fmt.Sprintf("%v: module %s: %s: %s", ErrCompileBudget, hex.EncodeToString(e.Digest[:6]), e.Limit, e.Text)
}

func (e *CompileError) Unwrap() error { return ErrCompileBudget }

// CompileInto fills an empty folder with the native code of a module. It is for
// the process that a Compiler starts; what it costs is bounded by that process
// alone. A module that does not validate is an *abi.Refusal.
func CompileInto(ctx context.Context, wasm []byte, dir string) error {
	return sandbox.CompileInto(ctx, wasm, dir)
}
