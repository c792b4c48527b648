package host_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"wasmhost.example/host"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/identity"
)

// A node that refuses to prove that it has a daemon, for a reason without a name, fails
// that, and no channel.
func TestARefusedProofIsNoChannelsError(t *testing.T) {
	var net hosttest.Net
	a := nativeNode(t, &net)
	p, node := pretend(t, &net)
	id := newKey(t).ID()
	for name, c := range map[string]struct {
		refusal error
		want    error
	}{
		"no reason that has a name": {errors.New("its disk is odd"), daemon.ErrUnproven},
		"one of a later version":    {nil, daemon.ErrUnproven},
		"it has no such daemon":     {channel.ErrNoReceiver, channel.ErrNoReceiver},
		"it is not ready":           {channel.ErrNotReady, channel.ErrNotReady},
	} {
		p.answer = func(*channel.Locate) channel.Message {
			if c.refusal == nil {
				return &channel.Refused{Code: 60000, Text: "of a later version"}
			}
			return channel.Refuse(identity.EntityID{}, fmt.Errorf("looking: %w", c.refusal))
		}
		_, err := a.Believe(ctx, id, node.ID().Node(), 0)
		if !errors.Is(err, c.want) || errors.Is(err, channel.ErrOther) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

// What passes by itself is told as that to who asks on a channel's stream.
func TestWhatPassesIsToldAsPassing(t *testing.T) {
	for _, err := range []error{daemon.ErrHolding, daemon.ErrComing, daemon.ErrShuttingDown, context.DeadlineExceeded} {
		m, ok := host.LastWord(fmt.Errorf("looking: %w", err)).(*channel.Refused)
		if !ok || !errors.Is(&channel.Refusal{Code: m.Code}, channel.ErrNotReady) {
			t.Errorf("%v: got %+v, want it told as not ready", err, m)
		}
	}
	if m := host.LastWord(errors.New("odd")).(*channel.Refused); m.Code != 0 {
		t.Errorf("an error without a name: got code %d, want 0", m.Code)
	}
}
