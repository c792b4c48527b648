package server

import (
	"testing"
	"time"

	"wasmhost.example/api/server/convert"
	"wasmhost.example/host/daemon"
	"wasmhost.example/identity"
)

func TestTopNamesTheHeaviest(t *testing.T) {
	at := func(n byte) identity.EntityID { return identity.EntityID{n} }
	before := []daemon.Usage{{Entity: at(1), Time: time.Second, Bytes: 100, Direct: 5}, {Entity: at(2), Time: time.Hour, Timers: 7}, {Entity: at(3), Direct: 1000}}
	after := []daemon.Usage{{Entity: at(1), Time: time.Second, Bytes: 300, Direct: 9}, {Entity: at(2), Time: time.Hour + time.Second, Timers: 207, Turns: 2, Waiting: 1},
		{Entity: at(3), Direct: 3}, {Entity: at(4), Channels: 2, Bytes: 50}}
	got := convert.TopOf(before, after, 2*time.Second, 3)
	if len(got) != 3 || got[0].EntityID != at(2).String() || got[1].EntityID != at(1).String() || got[2].EntityID != at(4).String() {
		t.Fatalf("the heaviest are %+v; want 2, 1, 4", got)
	}
	if g := got[0]; g.CPU != 0.5 || g.Timers != 100 || g.Waiting != 3 {
		t.Errorf("the heaviest uses %+v; want half a processor, 100 timers a second, 3 that wait", g)
	}
	if g := got[1]; g.Bytes != 100 || g.Direct != 2 {
		t.Errorf("the next uses %+v; want 100 bytes and 2 events a second", g)
	}
	if got := convert.TopOf(before, after, time.Second, 10); got[3].Direct != 0 {
		t.Errorf("one that came back uses %+v; want nothing", got[3])
	}
}
