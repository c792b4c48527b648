package daemon_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"wasmhost.example/host/daemon"
)

func TestParsingLimits(t *testing.T) {
	for _, tc := range []struct {
		texts     []string
		own, node daemon.Limits // what ParseLimits and ParseNodeLimits make of it
		bad       string        // or what the errors say
	}{
		{texts: nil},
		{texts: []string{"fuel=5", "memory = 3MiB", "wall=250ms", "output-count=7"},
			own: daemon.Limits{Fuel: 5, MemoryBytes: 3 << 20, Wall: 250 * time.Millisecond, OutputCount: 7}},
		{texts: []string{"fuel=5", "fuel=6"}, own: daemon.Limits{Fuel: 6}},
		{texts: []string{"module-bytes=1KiB"}, node: daemon.Limits{ModuleBytes: 1024}, bad: "module-bytes is the node's"},
		{texts: []string{"sender-memory=1h"}, node: daemon.Limits{SenderMemory: time.Hour}, bad: "sender-memory is the node's"},
		{texts: []string{"speed=5"}, bad: `no limit "speed"`},
		{texts: []string{"fuel"}, bad: "not name=value"},
		{texts: []string{"fuel=0"}, bad: "above 0"},
		{texts: []string{"fuel=-1"}, bad: "above 0"},
		{texts: []string{"memory=9000000000GiB"}, bad: "above 0"},
		{texts: []string{"memory=5GiB"}, bad: "between 0"},
	} {
		if tc.bad == "" && tc.node == (daemon.Limits{}) {
			tc.node = tc.own
		}
		own, err := daemon.ParseLimits(tc.texts)
		if tc.bad != "" && (!errors.Is(err, daemon.ErrBadLimit) || !strings.Contains(err.Error(), tc.bad)) || tc.bad == "" && (err != nil || own != tc.own) {
			t.Errorf("%q: %+v, %v", tc.texts, own, err)
		}
		node, err := daemon.ParseNodeLimits(tc.texts)
		if tc.node == (daemon.Limits{}) && tc.bad != "" {
			if !errors.Is(err, daemon.ErrBadLimit) || !strings.Contains(err.Error(), tc.bad) {
				t.Errorf("a node's %q: %+v, %v", tc.texts, node, err)
			}
		} else if err != nil || node != tc.node {
			t.Errorf("a node's %q: %+v, %v", tc.texts, node, err)
		}
	}
}
