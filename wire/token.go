package wire

import (
	"time"

	"wasmhost.example/wire/trust"
)

// Token issues a join token that is good once, for ttl. Who joins with it gets
// the rights here.
func (m *Mesh) Token(ttl time.Duration, rights trust.Rights) (string, error) {
	return m.tokens.Issue(m.config.Identity.ID(), m.announced(), ttl, rights)
}
