package api

import (
	"errors"
)

// Problem is an error as it crosses the API (RFC 9457), and on the client the
// error itself.
type Problem struct {
	Type   string `json:"type"` // urn:wasmhost:error:<code>
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Code   string `json:"code"` // stable
	Hint   string `json:"hint,omitempty"`

	Fault     *Fault `json:"fault,omitempty"`     // with guest-failed and limit-exceeded
	Reason    string `json:"reason,omitempty"`    // with migration-failed: a code of package migration
	Refused   string `json:"refused,omitempty"`   // with module-refused: a code of package abi
	Retriable bool   `json:"retriable,omitempty"` // the same again may succeed

	Nodes []Verdict `json:"nodes,omitempty"` // with no-node-fits: each, and why not
}

// Fault is a guest's failure.
type Fault struct {
	Kind  string `json:"kind"`
	Call  string `json:"call"`
	Code  int32  `json:"code"`
	Limit string `json:"limit,omitempty"`
	Text  string `json:"text"`
	Stack string `json:"stack,omitempty"`
}

// ErrBadRequest says that a request is no request of the API.
var ErrBadRequest = errors.New("bad request")

// NewProblem returns a Problem of that code; what there is no code for is internal.
func NewProblem(code, detail string) *Problem {
	c, ok := CodeNamed(code)
	if !ok {
		c, _ = CodeNamed(codeInternal)
	}
	return &Problem{Type: "urn:wasmhost:error:" + c.Name, Title: c.Title, Status: c.Status, Detail: detail, Code: c.Name, Hint: c.Hint}
}

// Error implements error: it is the detail.
func (p *Problem) Error() string { return p.Detail }

// Exit returns the command line's exit code for the problem. A code of a later version is
// ExitFailure.
func (p *Problem) Exit() int {
	if c, ok := CodeNamed(p.Code); ok {
		return c.Exit
	}
	return ExitFailure
}

// Exit codes of the command line. UX names them.
const (
	ExitOK           = 0
	ExitFailure      = 1
	ExitUsage        = 2
	ExitNotFound     = 3
	ExitConflict     = 4
	ExitDenied       = 5
	ExitUnreachable  = 6
	ExitTimeout      = 7
	ExitNotConfirmed = 8
	ExitGuest        = 9
	ExitVerification = 10
	ExitMigration    = 11
	ExitIncomplete   = 12
	ExitInterrupted  = 130
)
