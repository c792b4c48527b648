package daemon

import "errors"

// ErrUnconfirmed says that a node which was restored from a backup is not confirmed
// yet. Where it stands for a channel, it is also channel.ErrNotReady.
var ErrUnconfirmed = errors.New("the node was restored from a backup, and nobody has confirmed it")
