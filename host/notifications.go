package host

import (
	"context"
	"time"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/feed"
)

// notificationsBuffer is how far who watches a node may lag before it is cut.
const notificationsBuffer = 4096

// Notifications returns what happens on this node from now on. The channel is
// closed when ctx ends, when the runtime shuts down, or when its reader lags by
// more than 4096, or by more bytes than its budget has.
func (r *Runtime) Notifications(ctx context.Context) <-chan daemon.Notification {
	return r.notifications.feed.Stream(ctx, notificationsBuffer, r.following(), func(h *daemon.Notification) int64 { return int64(len(h.Name) + len(h.Kind) + len(h.Reason)) })
}

// notifications are those who watch a node.
type notifications struct {
	clock func() time.Time
	feed  feed.Feed[daemon.Notification]
}

// publish is env.Env's Notify.
func (n *notifications) publish(h daemon.Notification) {
	if n.feed.Idle() {
		return
	}

	h.At = n.clock()
	n.feed.Publish(h)
}
