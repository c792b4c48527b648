package groups

import (
	"errors"
	"reflect"
	"testing"

	"wasmhost.example/api"
	"wasmhost.example/host/group"
	"wasmhost.example/identity"
)

// TestWhatTheNodesSayOfAMember: only what no node can have is gone.
func TestWhatTheNodesSayOfAMember(t *testing.T) {
	at := func(epoch uint64, state string) api.Sighting {
		return api.Sighting{Daemon: &api.Daemon{Epoch: epoch, State: state}}
	}
	went := func(epoch uint64) api.Sighting { return api.Sighting{Went: &api.Moved{NodeID: "c", Epoch: epoch}} }
	stopped := func(epoch uint64) api.Sighting { return api.Sighting{Stopped: epoch} }
	no, quiet := api.Sighting{}, errors.New("it is quiet")
	const declared = 1 << 20 // by how much a loss raises the epoch
	for name, c := range map[string]struct {
		seen   []api.Sighting
		failed []error
		last   identity.NodeID   // where it was
		epoch  uint64            // its own; 0: 2
		lost   []identity.NodeID // where it was declared lost
		want   group.Sight
	}{
		"it runs":                                            {seen: []api.Sighting{no, at(3, "running"), no}, want: group.Sight{Health: group.Healthy, Node: 2, Epoch: 3}},
		"it runs, and a node is quiet":                       {seen: []api.Sighting{at(3, "passive"), no, no}, failed: []error{nil, nil, quiet}, want: group.Sight{Health: group.Healthy, Node: 1, Epoch: 3}},
		"it has failed":                                      {seen: []api.Sighting{at(3, "failed"), no, no}, want: group.Sight{Health: group.Failed, Node: 1, Epoch: 3}},
		"two have it: the later counts":                      {seen: []api.Sighting{at(3, "running"), at(4, "running"), no}, want: group.Sight{Health: group.Healthy, Node: 2, Epoch: 4}},
		"nobody has it":                                      {seen: []api.Sighting{no, no, no}, want: group.Sight{Health: group.Gone}},
		"nobody has it, and one is quiet":                    {seen: []api.Sighting{no, no, no}, failed: []error{nil, quiet, nil}, want: group.Sight{Health: group.Silent}},
		"it was stopped":                                     {seen: []api.Sighting{no, stopped(3), no}, want: group.Sight{Health: group.Gone}},
		"it moved, and was stopped there":                    {seen: []api.Sighting{went(3), stopped(3), no}, want: group.Sight{Health: group.Gone}},
		"it is between two nodes":                            {seen: []api.Sighting{went(4), no, no}, want: group.Sight{Health: group.Silent}},
		"it was stopped, came back, moved":                   {seen: []api.Sighting{stopped(3), went(5), no}, want: group.Sight{Health: group.Silent}},
		"a node is about to have it":                         {seen: []api.Sighting{no, {Coming: true}, no}, want: group.Sight{Health: group.Silent}},
		"it was where nobody is asked":                       {seen: []api.Sighting{no, no, no}, last: 9, want: group.Sight{Health: group.Silent}},
		"a standby took it over before it was declared lost": {seen: []api.Sighting{no, at(3, "running"), no}, failed: []error{quiet, nil, nil}, epoch: declared + 2, lost: []identity.NodeID{1}, want: group.Sight{Health: group.Silent, Older: []identity.NodeID{2}}},
		"it was made anew beside the one that was lost":      {seen: []api.Sighting{no, at(3, "running"), at(declared+3, "running")}, epoch: declared + 3, last: 3, want: group.Sight{Health: group.Healthy, Node: 3, Epoch: declared + 3, Older: []identity.NodeID{2}}},
		"it was declared lost where nobody answers":          {seen: []api.Sighting{no, no, no}, failed: []error{quiet, nil, nil}, epoch: declared + 2, lost: []identity.NodeID{1}, want: group.Sight{Health: group.Gone}},
		"it was declared lost, and another is quiet":         {seen: []api.Sighting{no, no, no}, failed: []error{quiet, nil, quiet}, epoch: declared + 2, lost: []identity.NodeID{1}, want: group.Sight{Health: group.Silent}},
		"it was declared lost where nobody is asked":         {seen: []api.Sighting{no, no, no}, last: 9, epoch: declared + 2, lost: []identity.NodeID{9}, want: group.Sight{Health: group.Gone}},
		"it went to where it was declared lost":              {seen: []api.Sighting{no, went(2), no}, failed: []error{quiet, nil, nil}, epoch: declared + 2, lost: []identity.NodeID{1}, want: group.Sight{Health: group.Gone}},
		"it was made anew, and moved to where it was lost":   {seen: []api.Sighting{no, went(declared + 3), no}, failed: []error{quiet, nil, nil}, last: 2, epoch: declared + 2, lost: []identity.NodeID{1}, want: group.Sight{Health: group.Silent}},
		"only what was lost is there again":                  {seen: []api.Sighting{at(1, "running"), no, no}, want: group.Sight{Health: group.Gone}},
	} {
		if c.failed == nil {
			c.failed = make([]error, len(c.seen))
		}
		if c.last == 0 {
			c.last = 1
		}
		if c.epoch == 0 {
			c.epoch = 2
		}
		got := sightOf(group.Member{Node: c.last, Epoch: c.epoch, Lost: c.lost}, []identity.NodeID{1, 2, 3}, c.seen, c.failed)
		if (got.Reason == "") != (got.Health == group.Healthy) {
			t.Errorf("%s: the reason is %q", name, got.Reason)
		}
		if got.Reason = ""; !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
