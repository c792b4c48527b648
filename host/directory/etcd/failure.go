package etcd

import (
	"fmt"
	"strings"
	"sync"

	"go.uber.org/zap/zapcore"

	"wasmhost.example/host/directory"
)

// failure is how a member fails by itself. Its first reason counts.
type failure struct {
	once sync.Once
	err  error         // set before done is closed
	done chan struct{} // closed when the member has failed
}

func newFailure() *failure { return &failure{done: make(chan struct{})} }

func (f *failure) fail(message string) {
	f.once.Do(func() {
		f.err = failed(message)
		close(f.done)
	})
}

// failed is the error of a member that etcd gives up, by what etcd says. A log that ends
// before what this member itself has acknowledged is an older copy.
func failed(message string) error {
	if strings.HasPrefix(message, "tocommit(") && strings.Contains(message, "is out of range [lastIndex(") {
		return fmt.Errorf("%w: %s", directory.ErrOlder, message)
	}
	return fmt.Errorf("%w: %s", directory.ErrDamaged, message)
}

// OnWrite implements zapcore.CheckWriteHook. It does not return: the caller cannot go on,
// and what it holds locked stays so until the process ends.
func (f *failure) OnWrite(e *zapcore.CheckedEntry, _ []zapcore.Field) {
	f.fail(e.Message)
	select {}
}
