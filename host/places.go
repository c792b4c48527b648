package host

import (
	"time"
)

// What a daemon remembers of senders is bounded (Limits.Senders), and shared out: no
// peer and no API token can fill it for the others. The lanes of nodes, which number the
// events that nobody else numbers, have places of their own.

// SenderMemory is for how long the node's daemons remember a silent sender once they
// remember as many as they may.
func (r Node) SenderMemory() time.Duration { return r.rt.env.Limits.SenderMemory }
