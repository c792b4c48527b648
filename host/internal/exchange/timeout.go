package exchange

import (
	"time"

	"wasmhost.example/host/migration"
)

// IdleTimeout is a connection that is cut when the other side is to say something
// and says nothing for migration.Patience: what it began here is then dropped.
type IdleTimeout struct{ migration.Conn }

// Recv implements migration.Conn.
func (p IdleTimeout) Recv() (migration.Message, error) {
	defer time.AfterFunc(migration.Patience, p.Abort).Stop()
	return p.Conn.Recv()
}
