package node

import (
	"fmt"
	"os"
	"sync"
)

// auditFile is a file of JSON lines that is only appended to. It can be reopened,
// after it was rotated away.
type auditFile struct {
	path string
	mu   sync.Mutex
	file *os.File
}

func openAudit(path string) (*auditFile, error) {
	a := &auditFile{path: path}
	return a, a.reopen()
}

func (a *auditFile) reopen() error {
	f, err := os.OpenFile(a.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening the audit log: %w", err)
	}

	a.mu.Lock()
	old := a.file
	a.file = f
	a.mu.Unlock()
	if old != nil {
		return old.Close()
	}

	return nil
}

func (a *auditFile) Write(b []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.file.Write(b)
}

func (a *auditFile) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.file.Close()
}
