package main

// mended take out, one at a time, what holds against guests, loads, clients and peers.
var mended = []hunt{
	{mutant{"bulk instructions run before they are paid for", "abi/chunks.go",
		"0x42, 0, 0x53) // i64.const 0; i64.lt_s", "0x42, 0, 0x53, 0x1a, 0x41, 0) // i64.const 0; i64.lt_s", nil}, goTest{"./host/internal/sandbox", "TestNothingRunsUnpaid"}},
	{mutant{"a snapshot hook may emit", "host/internal/sandbox/call.go",
		"if i.call.name == abi.ExportSnapshot &&", "if false &&", nil}, goTest{"./host/internal/sandbox", "TestSnapshotsChangeNothing"}},
	{mutant{"modules have any shape", "abi/bounds.go",
		"if n <= b.Limit {", "if true {", nil}, attackRow("compile-br-table")},
	{mutant{"what a daemon makes of its own accord piles up", "host/fair/fair.go",
		"f.flight < MaxFlowFlight", "true", nil}, goTest{"./host/fair", "TestWhatIsNotDurableIsBounded"}},
	{mutant{"a peer that may own daemons is believed without proof", "wire/control/owners.go",
		"p, err := s.rt.Weigh(ctx, id, at, by)", "p, err := host.Proven{}, error(nil)\n\tp.Node, p.Epoch, p.Rank, by = at, d.Epoch, d.Epoch, by", nil}, attackRow("false-residence-migrate")},
	{mutant{"an arrival need not be signed", "host/authorise.go",
		"case in.named:", "case true:", nil}, attackRow("unsigned-public-arrival")},
	{mutant{"bodies are read before rights are looked at", "wire/control/server.go",
		"\t\tif from, ok := wire.PeerOf(r.Context()); ok {\n\t\t\tif err := s.mesh.Allow(from, right,", "\t\tif _, err := readAll(w, r, 64<<20); err != nil {\n\t\t\treturn err\n\t\t}\n\t\tif from, ok := wire.PeerOf(r.Context()); ok {\n\t\t\tif err := s.mesh.Allow(from, right,", nil}, attackRow("body-before-rights")},
	{mutant{"joining a cluster needs no right", "wire/control/server.go",
		"s.joins(s.postMember)", "s.needs(0, s.postMember)", nil}, attackRow("cluster-secret")},
	{mutant{"every plain post takes a sender's place", "wire/lanes.go",
		"if n := len(l.free); n > 0 {", "if n := 0; n > 0 {", nil}, attackRow("one-shot-senders")},
	{mutant{"the beginning of an id names a daemon", "host/ref.go",
		"return r.key == id\n\tcase byShort:\n\t\treturn identity.OriginHash(r.short) == id.Origin()\n\t}\n\treturn r.name == name", "return r.key == id\n\tcase byShort:\n\t\treturn identity.OriginHash(r.short) == id.Origin()\n\t}\n\treturn r.name == name || BeginsID(id, r.name)", nil}, attackRow("prefix-of-a-stranger")},
}

// more are further ones of the kind, for -all: each builds the program or tests of host.
var more = []hunt{
	{mutant{"a compile goes on when nobody waits", "host/compile.go",
		"f.cancel(errNobodyWaits)", "_ = errNobodyWaits", nil}, goTest{"./host", "TestCompileEndsWhenNobodyWaits"}},
	{mutant{"timers fire as often as they like", "host/effects.go",
		"d.round = d.used + interval", "d.round = d.used", nil}, goTest{"./host", "TestTimersThatSetThemselvesAreSpaced"}},
	{mutant{"an event that finds no room is passed over", "host/deliver.go",
		"if d.waitsForRoom(ev, err) {", "if false {", nil}, goTest{"./host", "TestEventsWaitForRoom"}},
	{mutant{"answers that nobody reads are held without a bound", "host/deliver.go",
		"if ev.Answers == nil {", "if true {", nil}, attackRow("unread-large-answers")},
	{mutant{"a daemon may be given away twice", "host/locate.go",
		"if known && by != last.node &&", "if false && by != last.node &&", nil}, goTest{"./host", "TestFormerHostIsNotBelieved"}},
	{mutant{"arrivals are not counted", "host/arrivalroom.go",
		"if n >= ArrivalsOfPeer {", "if false {", nil}, goTest{"./host", "TestUnfinishedArrivalsAreBounded"}},
	{mutant{"direct events may name a channel", "host/deliver.go",
		"case ev.Channel != \"\":", "case false:", nil}, attackRow("sender-forged")},
	{mutant{"one caller may take all senders' places", "host/places.go",
		"c.byScope[scope] >= most {", "false {", nil}, goTest{"./host", "TestSendersHaveShares"}},
	{mutant{"queries are read as they come", "wire/control/guard.go",
		"err = checkQuery(r.URL.RawQuery, op.query)", "err = error(nil)", nil}, attackRow("lost-id")},
	{mutant{"JSON may trail and repeat", "wire/control/body.go",
		"canon.UnmarshalJSON(b, into)", "json.Unmarshal(b, into)", []edit{{"wire/control/body.go", "\t\"wasmhost/wire/canon\"\n", ""}, {"wire/control/body.go", "\t\"fmt\"\n", "\t\"encoding/json\"\n\t\"fmt\"\n"}}}, attackRow("loose-json")},
}
