package exchange

import (
	"log/slog"
	"time"

	"wasmhost.example/host/backoff"
	"wasmhost.example/host/migration"
)

// resumeFor is for how long a source tries to reach a target again whose
// connection broke during Transfer, and for how long a target keeps what came.
const ResumeFor = 30 * time.Second

// retryPolicy spaces what a node asks another for until it is answered.
var Retry = backoff.Policy{First: 50 * time.Millisecond, Most: 5 * time.Second}

// peerRefusal is the other side's Refuse.
type Refusal struct{ Why *migration.Error }

func (p *Refusal) Error() string { return p.Why.Error() }

func (p *Refusal) Unwrap() error { return p.Why }

// cutError says that a connection broke.
type CutError struct{ why *migration.Error }

func (c *CutError) Error() string { return c.why.Error() }

func (c *CutError) Unwrap() error { return c.why }

func CutOff(err error) error {
	return &CutError{migration.Failf(migration.TargetUnavailable, "the connection broke: %v", err)}
}

// receive returns the next message, which must be a T. A Refuse is the error
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

// answerMigration sends the last message of a stream; whoever is gone does without.
func Answer(log *slog.Logger, c migration.Conn, m migration.Message) {
	if err := c.Send(m); err != nil {
		log.Debug("answering on a migration stream", "error", err)
	}
}
