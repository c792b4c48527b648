package directory

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"wasmhost.example/identity"
)

// ruled is a directory with a member, a daemon of another, and a guard.
type ruled struct {
	t             *testing.T
	link          *Link
	guard         *Guard
	self          Caller // a member that has a session, with the rights of none
	owner, third  identity.EntityID
	theirs        Daemon // of owner
	mine          Daemon // of self
	free          identity.EntityID
	session       int64 // of self
	removedVoters int
}

const testCluster = "main"

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (r *ruled) put(key string, value []byte) int64 {
	r.t.Helper()
	return must[int64](r.t)(r.link.Commit(r.t.Context(), nil, []Write{{key, value}}))
}

func (r *ruled) node(key identity.EntityID) []byte {
	r.t.Helper()
	n := Node{Key: key, Name: "n", Addr: "127.0.0.1:1", TTL: time.Second}
	return must[[]byte](r.t)(n.encode())
}

func (r *ruled) daemon(d Daemon) []byte {
	r.t.Helper()
	return must[[]byte](r.t)(d.encode())
}

func (r *ruled) at(key string) int64 {
	r.t.Helper()
	_, revision, err := r.link.Get(r.t.Context(), key)
	if err != nil {
		r.t.Fatal(err)
	}
	return revision
}

func newRuled(t *testing.T) *ruled {
	r := &ruled{t: t, link: NewMemory().Link(), owner: someKey(t), third: someKey(t), free: someKey(t)}
	r.self = Caller{Key: someKey(t)}
	r.guard = NewGuard(GuardOptions{Engine: r.link, Cluster: testCluster, Logger: slog.New(slog.DiscardHandler),
		Voters:      func(context.Context) ([]Voter, error) { return []Voter{{Name: "v"}}, nil },
		RemoveVoter: func(context.Context, identity.NodeID) error { r.removedVoters++; return nil }})
	for _, key := range []identity.EntityID{r.self.Key, r.owner, r.third} {
		for _, kind := range []func(identity.NodeID) string{memberKey, beatKey} {
			r.put(kind(key.Node()), r.node(key))
		}
	}
	r.session = r.put(sessionKey(r.self.id()), []byte("life"))
	r.put(sessionKey(r.owner.Node()), []byte("life"))
	r.theirs = Daemon{Entity: someKey(t), Name: "theirs", Owner: r.owner.Node(), Epoch: 4}.With(r.third.Node())
	r.mine = Daemon{Entity: someKey(t), Name: "mine", Owner: r.self.id(), Epoch: 7, Want: 1}
	for _, d := range []Daemon{r.theirs, r.mine} {
		r.put(daemonKey(d.Entity), r.daemon(d))
		r.put(nameKey(d.Name), must[[]byte](t)(encodeName(d.Entity)))
	}
	return r
}

type try struct {
	conditions []Condition
	writes     []Write
}

// TestANodeWritesItsOwnRecordsOnly tries transactions on other nodes' records, and
// variants of those that a node may make, each without one of the things that it needs.
func TestANodeWritesItsOwnRecordsOnly(t *testing.T) {
	r := newRuled(t)
	self, owner, third := r.self.id(), r.owner.Node(), r.third.Node()
	session := Condition{sessionKey(self), r.session}
	name := must[[]byte](t)(encodeName(r.free))
	theirName := must[[]byte](t)(encodeName(r.theirs.Entity))
	theirs, mine := daemonKey(r.theirs.Entity), daemonKey(r.mine.Entity)
	with := func(d Daemon, change func(*Daemon)) []byte { change(&d); return r.daemon(d) }
	is := func(key string) Condition { return Condition{key, r.at(key)} }
	grant := func(rights uint8) []byte {
		g := Grant{Key: r.free, Rights: rights, By: self}
		return must[[]byte](t)(g.encode())
	}
	fresh := Daemon{Entity: r.free, Name: "fresh", Owner: self, Epoch: 1}
	group := func(keeper identity.NodeID) []byte { return must[[]byte](t)(encodeGroup(keeper)) }
	r.put(groupKey("theirs"), group(owner))
	denied := map[string]try{
		"another's session":                         {nil, []Write{{sessionKey(owner), []byte("mine")}}},
		"another's beat":                            {[]Condition{session}, []Write{{beatKey(owner), r.node(r.owner)}}},
		"another's member record":                   {nil, []Write{{memberKey(owner), r.node(r.owner)}}},
		"begin with another's key":                  {[]Condition{{removedKey(self), 0}}, []Write{{sessionKey(self), []byte("l")}, {memberKey(self), r.node(r.owner)}, {beatKey(self), r.node(r.owner)}}},
		"begin without asking":                      {nil, []Write{{sessionKey(self), []byte("l")}, {memberKey(self), r.node(r.self.Key)}, {beatKey(self), r.node(r.self.Key)}}},
		"begin with a huge life":                    {[]Condition{{removedKey(self), 0}}, []Write{{sessionKey(self), make([]byte, maxLife+1)}, {memberKey(self), r.node(r.self.Key)}, {beatKey(self), r.node(r.self.Key)}}},
		"a beat without a session":                  {nil, []Write{{beatKey(self), r.node(r.self.Key)}}},
		"its session alone":                         {[]Condition{session}, []Write{{sessionKey(self), []byte("other")}}},
		"leaving without naming it":                 {nil, []Write{{Key: sessionKey(self)}, {Key: beatKey(self)}}},
		"evicting without its session":              {[]Condition{is(sessionKey(owner)), is(beatKey(owner))}, []Write{{Key: sessionKey(owner)}, {Key: beatKey(owner)}}},
		"evicting without a beat":                   {[]Condition{session, is(sessionKey(owner))}, []Write{{Key: sessionKey(owner)}, {Key: beatKey(owner)}}},
		"another's daemon for itself":               {[]Condition{session, is(theirs)}, []Write{{theirs, with(r.theirs, func(d *Daemon) { d.Owner, d.Epoch = self, 5 })}}},
		"another's daemon, far ahead":               {[]Condition{session, is(theirs)}, []Write{{theirs, with(r.theirs, func(d *Daemon) { d.Owner, d.Epoch = self, 1<<62 })}}},
		"another's daemon, its standbys":            {[]Condition{session, is(theirs)}, []Write{{theirs, with(r.theirs, func(d *Daemon) { *d = d.With(self) })}}},
		"another's daemon, deleted":                 {[]Condition{session, is(theirs)}, []Write{{Key: theirs}}},
		"another's daemon, with no revision":        {[]Condition{session}, []Write{{theirs, r.daemon(r.theirs)}}},
		"its daemon without a session":              {[]Condition{is(mine)}, []Write{{mine, r.daemon(r.mine)}}},
		"its daemon, an epoch back":                 {[]Condition{session, is(mine)}, []Write{{mine, with(r.mine, func(d *Daemon) { d.Epoch-- })}}},
		"its daemon, handed over at the same epoch": {[]Condition{session, is(mine)}, []Write{{mine, with(r.mine, func(d *Daemon) { d.Owner = third })}}},
		"its daemon under another's name":           {[]Condition{session, is(mine)}, []Write{{mine, with(r.mine, func(d *Daemon) { d.Name = "theirs" })}}},
		"its daemon and a name":                     {[]Condition{session, is(mine), is(nameKey("mine"))}, []Write{{mine, r.daemon(r.mine)}, {nameKey("mine"), name}}},
		"its daemon and another's":                  {[]Condition{session, is(mine), is(theirs)}, []Write{{mine, r.daemon(r.mine)}, {theirs, r.daemon(r.theirs)}}},
		"its daemon's end, and another's name":      {[]Condition{session, is(mine), is(nameKey("theirs"))}, []Write{{Key: mine}, {Key: nameKey("theirs")}}},
		"a name alone":                              {[]Condition{session}, []Write{{nameKey("theirs"), name}}},
		"a name alone, removed":                     {[]Condition{session, is(nameKey("theirs"))}, []Write{{Key: nameKey("theirs")}}},
		"a new daemon as another's":                 {[]Condition{session, is(daemonKey(r.free)), is(nameKey("fresh"))}, []Write{{nameKey("fresh"), name}, {daemonKey(r.free), with(fresh, func(d *Daemon) { d.Owner = owner })}}},
		"a new daemon, another's name record":       {[]Condition{session, is(daemonKey(r.free)), is(nameKey("fresh"))}, []Write{{nameKey("fresh"), theirName}, {daemonKey(r.free), r.daemon(fresh)}}},
		"a new daemon without its name":             {[]Condition{session, is(daemonKey(r.free))}, []Write{{daemonKey(r.free), r.daemon(fresh)}}},
		"a new daemon with an odd name":             {[]Condition{session, is(daemonKey(r.free))}, []Write{{daemonKey(r.free), with(fresh, func(d *Daemon) { d.Name = "fresh/../x" })}}},
		"another's group":                           {[]Condition{session, is(groupKey("theirs"))}, []Write{{groupKey("theirs"), group(self)}}},
		"another's group, removed":                  {[]Condition{session, is(groupKey("theirs"))}, []Write{{Key: groupKey("theirs")}}},
		"a group that is another's":                 {[]Condition{session, is(groupKey("new"))}, []Write{{groupKey("new"), group(owner)}}},
		"a group without a session":                 {[]Condition{is(groupKey("new"))}, []Write{{groupKey("new"), group(self)}}},
		"a group with no revision":                  {[]Condition{session}, []Write{{groupKey("new"), group(self)}}},
		"a group that is no record":                 {[]Condition{session, is(groupKey("new"))}, []Write{{groupKey("new"), []byte{1}}}},
		"a group and a name":                        {[]Condition{session, is(groupKey("new")), is(nameKey("new"))}, []Write{{groupKey("new"), group(self)}, {nameKey("new"), name}}},
		"a grant":                                   {nil, []Write{{grantedKey(r.free.Node()), grant(0)}}},
		"a removal":                                 {[]Condition{{sessionKey(third), 0}}, []Write{{Key: memberKey(third)}, {removedKey(third), r.node(r.third)}}},
		"letting in":                                {nil, []Write{{Key: removedKey(third)}}},
	}
	for what, x := range denied {
		before := must[int64](t)(r.link.Commit(t.Context(), nil, nil))
		if _, err := r.guard.Commit(t.Context(), r.self, x.conditions, x.writes); !errors.Is(err, ErrDenied) {
			t.Errorf("%s: got %v, want ErrDenied", what, err)
		}
		if after := must[int64](t)(r.link.Commit(t.Context(), nil, nil)); after != before+1 {
			t.Errorf("%s: something was written", what)
		}
	}
	for what, x := range map[string]try{
		"a record that is none":          {[]Condition{session, is(mine)}, []Write{{mine, []byte("\xf6")}}},
		"another daemon's record":        {[]Condition{session, is(mine)}, []Write{{mine, r.daemon(r.theirs)}}},
		"its own beat that is no record": {[]Condition{session}, []Write{{beatKey(self), []byte{1}}}},
		"a key of no kind":               {nil, []Write{{"trust/x", []byte{1}}}},
		"a key in capitals":              {nil, []Write{{strings.ToUpper(beatKey(self))[:5] + beatKey(self)[5:], []byte{1}}}},
	} {
		if _, err := r.guard.Commit(t.Context(), r.self, x.conditions, x.writes); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %v, want ErrMalformed", what, err)
		}
	}
	// Evicting a node that this guard's own node has not seen silent, and a name that is taken.
	for what, x := range map[string]try{
		"evicting a node that beats": {[]Condition{session, is(sessionKey(owner)), is(beatKey(owner))}, []Write{{Key: sessionKey(owner)}, {Key: beatKey(owner)}}},
		"taking a name":              {[]Condition{session, is(daemonKey(r.free)), is(nameKey("theirs"))}, []Write{{nameKey("theirs"), name}, {daemonKey(r.free), with(fresh, func(d *Daemon) { d.Name = "theirs" })}}},
		"a group that another took":  {[]Condition{session, {groupKey("theirs"), 0}}, []Write{{groupKey("theirs"), group(self)}}},
		"its daemon, as it was not":  {[]Condition{session, {mine, 1}}, []Write{{mine, r.daemon(r.mine)}}},
	} {
		if _, err := r.guard.Commit(t.Context(), r.self, x.conditions, x.writes); !errors.Is(err, ErrConflict) {
			t.Errorf("%s: got %v, want ErrConflict", what, err)
		}
	}
}

// TestANodeMakesItsOwnTransactions has a member do all that a node without a vote does,
// through a guard.
func TestANodeMakesItsOwnTransactions(t *testing.T) {
	r := newRuled(t)
	self := r.self.id()
	session := Condition{sessionKey(self), r.session}
	is := func(key string) Condition { return Condition{key, r.at(key)} }
	ok := func(what string, conditions []Condition, writes ...Write) {
		t.Helper()
		if _, err := r.guard.Commit(t.Context(), r.self, conditions, writes); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	ok("beat", []Condition{session}, Write{beatKey(self), r.node(r.self.Key)})
	group := must[[]byte](t)(encodeGroup(self))
	ok("keep", []Condition{session, is(groupKey("g"))}, Write{groupKey("g"), group})
	ok("keep no more", []Condition{session, is(groupKey("g"))}, Write{Key: groupKey("g")})
	r.put(groupKey("g"), must[[]byte](t)(encodeGroup(r.third.Node())))
	r.put(removedKey(r.third.Node()), r.node(r.third))
	ok("keep what a removed node kept", []Condition{session, is(groupKey("g")), is(removedKey(r.third.Node()))}, Write{groupKey("g"), group})
	r.put(removedKey(r.third.Node()), nil)
	d := Daemon{Entity: r.free, Name: "fresh", Owner: self, Epoch: 1}
	key, name := daemonKey(r.free), nameKey("fresh")
	ok("create", []Condition{session, is(key), is(name)}, Write{name, must[[]byte](t)(encodeName(r.free))}, Write{key, r.daemon(d)})
	d = d.With(r.third.Node())
	ok("change", []Condition{session, is(key)}, Write{key, r.daemon(d)})
	d.Owner, d.Epoch = r.third.Node(), 2
	ok("hand over", []Condition{session, is(key)}, Write{key, r.daemon(d)})

	kept := r.theirs.With(self)
	r.put(daemonKey(kept.Entity), r.daemon(kept))
	r.put(sessionKey(r.owner.Node()), nil)
	taken := kept.Without(self)
	taken.Owner, taken.Epoch = self, kept.Epoch+1
	take := []Condition{session, is(daemonKey(kept.Entity)), {sessionKey(r.owner.Node()), 0}}
	for what, change := range map[string]func(*Daemon){"an epoch more": func(d *Daemon) { d.Epoch++ }, "another owner": func(d *Daemon) { d.Owner = r.third.Node() }, "itself a standby": func(d *Daemon) { *d = d.With(self) }, "no standbys": func(d *Daemon) { d.Standbys = nil }, "another number": func(d *Daemon) { d.Want = 3 }} {
		more := taken
		change(&more)
		if _, err := r.guard.Commit(t.Context(), r.self, take, []Write{{daemonKey(kept.Entity), r.daemon(more)}}); !errors.Is(err, ErrDenied) {
			t.Errorf("taking over with %s: got %v, want ErrDenied", what, err)
		}
	}
	if _, err := r.guard.Commit(t.Context(), r.self, take[:2], []Write{{daemonKey(kept.Entity), r.daemon(taken)}}); !errors.Is(err, ErrDenied) {
		t.Errorf("taking over from an owner that may be there: got %v, want ErrDenied", err)
	}
	ok("take over", take, Write{daemonKey(kept.Entity), r.daemon(taken)})
	ok("delete", []Condition{session, is(daemonKey(kept.Entity)), is(nameKey("theirs"))}, Write{Key: daemonKey(kept.Entity)}, Write{Key: nameKey("theirs")})
	ok("leave", []Condition{session}, Write{Key: sessionKey(self)}, Write{Key: beatKey(self)})
	ok("begin", []Condition{{sessionKey(self), 0}, {beatKey(self), 0}, {removedKey(self), 0}}, Write{sessionKey(self), []byte("life 2")}, Write{memberKey(self), r.node(r.self.Key)}, Write{beatKey(self), r.node(r.self.Key)})
}

// TestWhoComesInWasGranted has strangers ask, nodes with a grant, and removed ones.
func TestWhoComesInWasGranted(t *testing.T) {
	r := newRuled(t)
	new, self := Caller{Key: r.free, Rights: 0x1f}, r.free.Node()
	begin := try{[]Condition{{sessionKey(self), 0}, {beatKey(self), 0}, {removedKey(self), 0}}, []Write{{sessionKey(self), []byte("life")}, {memberKey(self), r.node(r.free)}, {beatKey(self), r.node(r.free)}}}
	everything := func(c Caller) map[string]error {
		_, _, get := r.guard.Get(t.Context(), c, memberKey(self))
		_, commit := r.guard.Commit(t.Context(), c, begin.conditions, begin.writes)
		_, voters := r.guard.Voters(t.Context(), c)
		return map[string]error{"get": get, "commit": commit, "voters": voters, "watch": r.guard.Watch(t.Context(), c, func(*Change) { t.Error("it sees something") }), "remove": r.guard.RemoveVoter(t.Context(), c, r.third.Node())}
	}
	for op, err := range everything(new) {
		if !errors.Is(err, ErrDenied) {
			t.Errorf("a stranger's %s: got %v, want ErrDenied", op, err)
		}
	}
	decider := r.self
	decider.Rights, decider.Decides = 0x1f, true
	grant := func(rights uint8) []Write {
		g := Grant{Key: r.free, Rights: rights, By: decider.id()}
		return []Write{{grantedKey(self), must[[]byte](t)(g.encode())}}
	}
	if _, err := r.guard.Commit(t.Context(), decider, nil, grant(0x3f)); !errors.Is(err, ErrDenied) {
		t.Errorf("granting more than it has: got %v, want ErrDenied", err)
	}
	if _, err := r.guard.Commit(t.Context(), decider, nil, grant(0x0f)); err != nil {
		t.Fatal(err)
	}
	other := daemonKey(r.mine.Entity)
	if _, err := r.guard.Commit(t.Context(), new, []Condition{{other, r.at(other)}}, []Write{{other, r.daemon(r.mine)}}); !errors.Is(err, ErrDenied) {
		t.Errorf("writing before it came in: got %v, want ErrDenied", err)
	}
	if _, err := r.guard.Commit(t.Context(), new, begin.conditions, begin.writes); err != nil {
		t.Fatalf("coming in: %v", err)
	}
	if err := r.guard.RemoveVoter(t.Context(), new, r.third.Node()); !errors.Is(err, ErrDenied) || r.removedVoters != 0 {
		t.Errorf("a member without join removes another: %v", err)
	}
	r.put(sessionKey(self), nil)
	n := Node{Key: r.free, Name: "n", Addr: "127.0.0.1:1", TTL: time.Second}
	removal := []Write{{Key: memberKey(self)}, {Key: grantedKey(self)}, {removedKey(self), must[[]byte](t)(n.encode())}}
	if _, err := r.guard.Commit(t.Context(), decider, nil, removal); !errors.Is(err, ErrDenied) {
		t.Errorf("removing without asking for its session: got %v, want ErrDenied", err)
	}
	if _, err := r.guard.Commit(t.Context(), decider, []Condition{{sessionKey(self), 0}}, removal); err != nil {
		t.Fatal(err)
	}
	for op, err := range everything(new) {
		if !errors.Is(err, ErrRemoved) {
			t.Errorf("a removed node's %s: got %v, want ErrRemoved", op, err)
		}
	}
	impostor := Caller{Key: identity.EntityID{1}, Rights: 0x1f}
	r.put(memberKey(impostor.id()), r.node(r.third))
	if _, err := r.guard.admit(t.Context(), impostor); !errors.Is(err, ErrDenied) {
		t.Errorf("a key that is not the member's: got %v, want ErrDenied", err)
	}
}

// TestRequestsAreReadStrictly asks with requests that are none.
func TestRequestsAreReadStrictly(t *testing.T) {
	r := newRuled(t)
	ask := func(b []byte) error {
		var said error
		if err := r.guard.Serve(t.Context(), r.self, b, func(b []byte) error {
			a, err := DecodeAnswer(b)
			if err == nil {
				err = a.Err()
			}
			said = err
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return said
	}
	encoded := func(change func(*Request)) []byte {
		q := NewRequest(OpGet, testCluster)
		q.Key = beatKey(r.self.id())
		change(q)
		b, err := q.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if err := ask(encoded(func(*Request) {})); err != nil {
		t.Fatalf("a good request: %v", err)
	}
	for what, x := range map[string]struct {
		b    []byte
		want error
	}{
		"nothing":             {nil, ErrMalformed},
		"an HTTP/2 preface":   {[]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), ErrMalformed},
		"too much":            {make([]byte, MaxRequest+1), ErrMalformed},
		"what follows":        {append(encoded(func(*Request) {}), 0), ErrMalformed},
		"another version":     {encoded(func(q *Request) { q.Version = 2 }), ErrVersion},
		"another cluster":     {encoded(func(q *Request) { q.Cluster = "other" }), ErrDenied},
		"an unknown op":       {encoded(func(q *Request) { q.Op, q.Key = 99, "" }), ErrMalformed},
		"a lease":             {encoded(func(q *Request) { q.Op, q.Key = 6, "" }), ErrMalformed},
		"a get with writes":   {encoded(func(q *Request) { q.Commit(nil, []Write{{Key: "name/x"}}) }), ErrMalformed},
		"a get of a prefix":   {encoded(func(q *Request) { q.Key = "beat/" }), ErrMalformed},
		"a get of all":        {encoded(func(q *Request) { q.Key = "\x00" }), ErrMalformed},
		"a key with a zero":   {encoded(func(q *Request) { q.Key += "\x00" }), ErrMalformed},
		"a name with a slash": {encoded(func(q *Request) { q.Key = "name/../member/x" }), ErrMalformed},
		"a long key":          {encoded(func(q *Request) { q.Key = "name/" + strings.Repeat("x", maxKey) }), ErrMalformed},
		"capitals":            {encoded(func(q *Request) { q.Key = "beat/" + strings.ToUpper(identity.NodeID(0xabcdef0123456789).String()) }), ErrMalformed},
		"a watch of a part":   {encoded(func(q *Request) { q.Op = OpWatch }), ErrMalformed},
		"an empty commit":     {encoded(func(q *Request) { q.Op, q.Key = OpCommit, "" }), ErrMalformed},
		"a key twice":         {encoded(func(q *Request) { q.Op, q.Key = OpCommit, ""; q.Commit(nil, []Write{{Key: "name/x"}, {Key: "name/x"}}) }), ErrMalformed},
		"a condition twice": {encoded(func(q *Request) {
			q.Op, q.Key = OpCommit, ""
			q.Commit([]Condition{{"name/x", 0}, {"name/x", 1}}, []Write{{Key: "name/x"}})
		}), ErrMalformed},
		"a revision below 0": {encoded(func(q *Request) {
			q.Op, q.Key = OpCommit, ""
			q.Commit([]Condition{{"name/x", -1}}, []Write{{Key: "name/x"}})
		}), ErrMalformed},
		"a large value": {encoded(func(q *Request) {
			q.Op, q.Key = OpCommit, ""
			q.Commit(nil, []Write{{"name/x", make([]byte, maxValue+1)}})
		}), ErrMalformed},
		"a value of a removal": {encoded(func(q *Request) {
			q.Op, q.Key = OpCommit, ""
			q.Writes = []WriteMessage{{Key: "name/x", Remove: true, Value: []byte{1}}}
		}), ErrMalformed},
		"many writes":     {encoded(func(q *Request) { q.Op, q.Key = OpCommit, ""; q.Commit(nil, make([]Write, maxWrites+1)) }), ErrMalformed},
		"removing nobody": {encoded(func(q *Request) { q.Op, q.Key = OpRemoveVoter, "" }), ErrMalformed},
	} {
		if err := ask(x.b); !errors.Is(err, x.want) {
			t.Errorf("%s: got %v, want %v", what, err, x.want)
		}
	}
}

// TestAMemberIsEvictedByWhoSawItSilent has a guard whose node has itself seen a lease end.
func TestAMemberIsEvictedByWhoSawItSilent(t *testing.T) {
	r := newRuled(t)
	clock := &handClock{}
	m, err := NewMember(Options{Engine: r.link, Self: Node{Key: r.third, TTL: time.Second}, Clock: clock, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	session, beat := r.at(sessionKey(r.owner.Node())), r.at(beatKey(r.owner.Node()))
	m.revision, m.until = 1, 1<<62
	m.nodes[r.owner.Node()] = &seen{node: Node{Key: r.owner, TTL: time.Second}, session: session, beat: beat}
	r.guard.See(m)
	evict := func(beat int64) error {
		_, err := r.guard.Commit(t.Context(), r.self, []Condition{{sessionKey(r.self.id()), r.session}, {sessionKey(r.owner.Node()), session}, {beatKey(r.owner.Node()), beat}}, []Write{{Key: sessionKey(r.owner.Node())}, {Key: beatKey(r.owner.Node())}})
		return err
	}
	clock.now = time.Second - 1
	if err := evict(beat); !errors.Is(err, ErrConflict) || r.at(sessionKey(r.owner.Node())) == 0 {
		t.Errorf("before the lease has ended: got %v, want ErrConflict", err)
	}
	clock.now = time.Second
	if err := evict(beat + 1); !errors.Is(err, ErrConflict) {
		t.Errorf("after another beat: got %v, want ErrConflict", err)
	}
	if err := evict(beat); err != nil {
		t.Errorf("after the lease has ended: %v", err)
	}
}

type handClock struct{ now time.Duration }

func (c *handClock) Now() time.Duration                     { return c.now }
func (c *handClock) After(d time.Duration) <-chan time.Time { return nil }

func FuzzDecodeRequest(f *testing.F) {
	q := NewRequest(OpCommit, testCluster)
	q.Commit([]Condition{{"name/x", 3}}, []Write{{"name/x", []byte{1}}, {Key: "name/y"}})
	for _, r := range []*Request{q, NewRequest(OpWatch, testCluster), NewRequest(OpVoters, testCluster)} {
		b, err := r.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)-1])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeRequest(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrVersion) {
				t.Errorf("%x: %v", b, err)
			}
			return
		}
		again, err := r.Encode()
		if err != nil || string(again) != string(b) {
			t.Errorf("%x decodes to what encodes to %x, %v", b, again, err)
		}
		for _, w := range r.Writes {
			if k, err := parseKey(w.Key); err != nil || k.kind == "" {
				t.Errorf("it takes the key %q: %v", w.Key, err)
			}
		}
	})
}

func FuzzDecodeAnswer(f *testing.F) {
	f.Add(Refusal(ErrDenied))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := DecodeAnswer(b)
		if err != nil {
			return
		}
		again, err := a.encode()
		if err != nil || string(again) != string(b) {
			t.Errorf("%x decodes to what encodes to %x, %v", b, again, err)
		}
	})
}

func FuzzDecodeGrant(f *testing.F) {
	g := Grant{Key: someKey(f), Rights: 5, By: 7}
	b, err := g.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := decodeGrant(b)
		if err != nil {
			return
		}
		again, err := g.encode()
		if err != nil || string(again) != string(b) {
			t.Errorf("%x decodes to what encodes to %x, %v", b, again, err)
		}
	})
}
