package host

import (
	"context"
	"time"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/feed"
)

// notificationsBuffer is how far who watches a node may lag before it is cut.
const notificationsBuffer = 4096

// Bounds on what a node still tells of what happened before. It is kept in memory: a
// restart forgets it.
const (
	keptNotifications     = 1024    // the newest are kept
	keptNotificationBytes = 1 << 20 // of their texts
)

// Notifications returns what happens on this node from now on, after what the node still
// knows to have happened at since or later; at the zero time: nothing. The channel is closed
// when ctx ends, when the runtime shuts down, or when its reader lags by more than 4096, or
// by more bytes than its budget has.
func (r *Runtime) Notifications(ctx context.Context, since time.Time) <-chan daemon.Notification {
	var from func(daemon.Notification) bool
	if !since.IsZero() {
		from = func(h daemon.Notification) bool { return !h.At.Before(since) }
	}
	return r.notifications.feed.Stream(ctx, notificationsBuffer, r.following(), from)
}

// notifications are those who watch a node, and what happened last.
type notifications struct {
	clock func() time.Time
	feed  feed.Past[daemon.Notification]
}

func newNotifications(clock func() time.Time) *notifications {
	return &notifications{clock: clock, feed: feed.Past[daemon.Notification]{Most: keptNotifications, Bytes: keptNotificationBytes,
		Size: func(h *daemon.Notification) int64 { return int64(len(h.Name) + len(h.Kind) + len(h.Reason)) }}}
}

// publish is env.Env's Notify.
func (n *notifications) publish(h daemon.Notification) {
	n.feed.Publish(func() daemon.Notification {
		h.At = n.clock()
		return h
	})
}
