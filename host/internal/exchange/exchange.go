// Package exchange is how two nodes speak of a migration: messages that must be of a
// kind, refusals, streams that break or say nothing, and when to try again.
package exchange

import (
	"log/slog"
	"time"

	"wasmhost.example/host/backoff"
	"wasmhost.example/host/migration"
)

// ResumeFor is for how long a source tries to reach a target again whose
// connection broke during Transfer, and for how long a target keeps what came.
const ResumeFor = 30 * time.Second

// Retry spaces what a node asks another for until it is answered.
var Retry = backoff.Policy{First: 50 * time.Millisecond, Most: 5 * time.Second}

// Refusal is the other side's Refuse.
type Refusal struct{ Why *migration.Error }

// Error implements error.
func (p *Refusal) Error() string { return p.Why.Error() }

// Unwrap returns what the other side said.
func (p *Refusal) Unwrap() error { return p.Why }

// CutError says that a connection broke.
type CutError struct{ why *migration.Error }

// Error implements error.
func (c *CutError) Error() string { return c.why.Error() }

// Unwrap returns the migration.Error with code TargetUnavailable that it is.
func (c *CutError) Unwrap() error { return c.why }

// CutOff makes a *CutError of what broke the stream.
func CutOff(err error) error {
	return &CutError{migration.Failf(migration.TargetUnavailable, "the connection broke: %v", err)}
}

// Receive returns the next message, which must be a T. A Refuse is the error
// that it carries.
func Receive[T migration.Message](c migration.Conn) (T, error) {
	var none T
	msg, err := c.Recv()
	if err != nil {
		return none, CutOff(err)
	}
	if refuse, ok := msg.(*migration.Refuse); ok {
		if _, asked := any(none).(*migration.Refuse); !asked {
			return none, &Refusal{&migration.Error{Code: refuse.Code, Text: refuse.Text}}
		}
	}
	switch msg := msg.(type) {
	case T:
		return msg, nil
	default:
		return none, migration.Failf(migration.ProtocolError, "the peer sent a %T where a %T should be", msg, none)
	}
}

// Answer sends the last message of a stream; whoever is gone does without.
func Answer(log *slog.Logger, c migration.Conn, m migration.Message) {
	if err := c.Send(m); err != nil {
		log.Debug("answering on a migration stream", "error", err)
	}
}
