package directory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"wasmhost.example/identity"
)

// A node with a vote writes to the engine itself: its vote is the right to. What it
// writes for a node that has none passes a Guard. The transactions that it lets through,
// whole; self is the node that asks, and each transaction is committed only if the
// directory is still as the Guard read it:
//
//	transaction | writes                          | asks for                                      | who
//	begin       | session, member, beat of self   | removed of self absent                        | a member, or a node with a grant
//	beat        | beat of self                    | its session                                   | a member
//	leave       | removes session, beat of self   | its session                                   | a member
//	evict       | removes session, beat of a node | its own session, that session and that beat   | a member, if the Guard's own node saw no beat for that lease
//	create      | daemon, owned by self; its name | its session, the daemon absent, the name free | a member
//	change      | daemon, owned by self           | its session, the daemon as it was             | its owner; its name stays, its epoch does not fall
//	hand over   | daemon, owned by another        | its session, the daemon as it was             | its owner; the epoch rises
//	take over   | daemon, owned by self           | its session, no session of the old owner      | a standby in sync; the epoch rises by one
//	delete      | removes daemon, its name; writes its removal | its session, the daemon as it was | its owner; or who decides, if the owner has no session
//	keep        | group, kept by self             | its session, the group as it was              | anyone, if nobody keeps it but a node that is removed
//	keep no more | removes group                  | its session, the group as it was              | its keeper
//	grant       | granted of a node               |                                               | who decides, and grants no more than it was granted
//	remove      | removed of a node; removes member, granted | no session of the node             | who decides
//	let in      | removes removed of a node       |                                               | who decides
//
// Everything else is ErrDenied. Reading is for members and for nodes with a grant.

// Caller is a node that asks, as the session with it has proven.
type Caller struct {
	Key     identity.EntityID
	Rights  uint8 // what it was granted here
	Decides bool  // these are all rights, that to join among them
}

func (c Caller) id() identity.NodeID { return c.Key.Node() }

// AliveEvery is after what time without a change a watch is told that it goes on.
const AliveEvery = time.Second

// GuardOptions say what a Guard is made of.
type GuardOptions struct {
	Engine  Engine
	Cluster string // its name
	Logger  *slog.Logger

	Voters      func(context.Context) ([]Voter, error)
	RemoveVoter func(context.Context, identity.NodeID) error
}

// Guard is an Engine as other nodes reach it. It is safe for concurrent use.
type Guard struct {
	engine      Engine
	cluster     string
	logger      *slog.Logger
	voters      func(context.Context) ([]Voter, error)
	removeVoter func(context.Context, identity.NodeID) error
	view        atomic.Pointer[Member] // of the node that has it
	onRefused   atomic.Pointer[func(identity.NodeID)]
}

// NewGuard makes one.
func NewGuard(o GuardOptions) *Guard {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return &Guard{engine: o.Engine, cluster: o.Cluster, logger: o.Logger, voters: o.Voters, removeVoter: o.RemoveVoter}
}

// See has the guard judge by what the node's own member has seen. Until then nothing is
// evicted.
func (g *Guard) See(m *Member) { g.view.Store(m) }

// OnRefused has fn called with each node whose request is denied or malformed.
func (g *Guard) OnRefused(fn func(identity.NodeID)) { g.onRefused.Store(&fn) }

func (g *Guard) tick(d time.Duration) *time.Ticker { return time.NewTicker(d) }

func (g *Guard) refused(c Caller, err error) {
	if errors.Is(err, ErrDenied) || errors.Is(err, ErrMalformed) || errors.Is(err, ErrVersion) {
		g.logger.Warn("refused a request to the cluster's directory", "node", c.id(), "error", err)
		if fn := g.onRefused.Load(); fn != nil {
			(*fn)(c.id())
		}
	}
}

// standing is what the directory says of who asks.
type standing int

const (
	stranger standing = iota
	granted           // a grant lets it come in
	member
)

// admit returns how the caller stands, or why it may not even read.
func (g *Guard) admit(ctx context.Context, c Caller) (standing, error) {
	if v := g.view.Load(); v != nil && v.isMember(c.Key) {
		return member, nil
	}
	if _, revision, err := g.engine.Get(ctx, removedKey(c.id())); err != nil {
		return stranger, g.engineError(err)
	} else if revision != 0 {
		return stranger, ErrRemoved
	}

	b, revision, err := g.engine.Get(ctx, memberKey(c.id()))
	if err != nil {
		return stranger, g.engineError(err)
	}
	if revision != 0 {
		if n, err := decodeNode(b); err == nil && n.Key == c.Key {
			return member, nil
		}
	}

	b, revision, err = g.engine.Get(ctx, grantedKey(c.id()))
	if err != nil {
		return stranger, g.engineError(err)
	}
	if revision != 0 {
		if n, err := decodeGrant(b); err == nil && n.Key == c.Key {
			return granted, nil
		}
	}

	return stranger, fmt.Errorf("%w: node %s is not a member of the cluster: it needs a token with the right to join", ErrDenied, c.id())
}

// engineError is an error of the engine as the caller is told it.
func (g *Guard) engineError(err error) error {
	if errors.Is(err, ErrConflict) || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrEngine, err)
}

// Get reads for the caller.
func (g *Guard) Get(ctx context.Context, c Caller, key string) ([]byte, int64, error) {
	if _, err := g.admit(ctx, c); err != nil {
		return nil, 0, err
	}
	value, revision, err := g.engine.Get(ctx, key)
	if err != nil {
		return nil, 0, g.engineError(err)
	}
	return value, revision, nil
}

// Watch has the caller follow the whole directory.
func (g *Guard) Watch(ctx context.Context, c Caller, fn func(*Change)) error {
	if _, err := g.admit(ctx, c); err != nil {
		return err
	}
	if err := g.engine.Watch(ctx, "", fn); err != nil {
		return g.engineError(err)
	}
	return nil
}

// Voters lists the members of the engine.
func (g *Guard) Voters(ctx context.Context, c Caller) ([]Voter, error) {
	if _, err := g.admit(ctx, c); err != nil {
		return nil, err
	}
	out, err := g.voters(ctx)
	if err != nil {
		return nil, g.engineError(err)
	}
	return out, nil
}

// RemoveVoter takes a node out of the members of the engine. The node must have no
// session.
func (g *Guard) RemoveVoter(ctx context.Context, c Caller, node identity.NodeID) error {
	if s, err := g.admit(ctx, c); err != nil {
		return err
	} else if s != member || !c.Decides {
		return denyDecision("remove a node")
	}

	_, revision, err := g.engine.Get(ctx, sessionKey(node))
	if err != nil {
		return g.engineError(err)
	}
	if revision != 0 {
		return fmt.Errorf("%w: node %s has a session", ErrConflict, node)
	}
	if err := g.removeVoter(ctx, node); err != nil {
		return g.engineError(err)
	}

	return nil
}

func denyDecision(what string) error {
	return fmt.Errorf("%w: to %s it needs all rights and join; ask a node that has a vote", ErrDenied, what)
}

// Commit makes the caller's transaction if it is one of those above.
func (g *Guard) Commit(ctx context.Context, c Caller, conditions []Condition, writes []Write) (int64, error) {
	s, err := g.admit(ctx, c)
	if err != nil {
		return 0, err
	}

	t, err := newTransaction(c, conditions, writes)
	if err != nil {
		return 0, err
	}
	if s != member && !t.begins() {
		return 0, fmt.Errorf("%w: node %s has not come in yet", ErrDenied, c.id())
	}
	if err := g.judge(ctx, t); err != nil {
		return 0, err
	}

	revision, err := g.engine.Commit(ctx, conditions, writes)
	if err != nil {
		return 0, g.engineError(err)
	}
	return revision, nil
}

// transaction is one that a caller asks for, by its keys.
type transaction struct {
	by     Caller
	self   identity.NodeID
	asks   map[string]int64
	writes map[string][]byte // nil: removed
	keys   map[string]parsedKey
	order  []string // of writes
}

func newTransaction(c Caller, conditions []Condition, writes []Write) (*transaction, error) {
	t := &transaction{by: c, self: c.id(), asks: make(map[string]int64), writes: make(map[string][]byte), keys: make(map[string]parsedKey)}
	for _, c := range conditions {
		t.asks[c.Key] = c.Revision
	}

	for _, w := range writes {
		k, err := parseKey(w.Key)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		t.writes[w.Key], t.keys[w.Key] = w.Value, k
		t.order = append(t.order, w.Key)
	}

	return t, nil
}

func (t *transaction) deny(why string, args ...any) error {
	return fmt.Errorf("%w: node %s: %s", ErrDenied, t.self, fmt.Sprintf(why, args...))
}

// only reports whether exactly these keys are written.
func (t *transaction) only(keys ...string) bool {
	if len(keys) != len(t.writes) {
		return false
	}

	for _, k := range keys {
		if _, ok := t.writes[k]; !ok {
			return false
		}
	}
	return true
}

// sets reports whether the key is written, and not removed.
func (t *transaction) sets(key string) bool { return t.writes[key] != nil }

func (t *transaction) begins() bool {
	return t.only(sessionKey(t.self), memberKey(t.self), beatKey(t.self))
}

// absent reports whether the transaction asks for the key to be absent.
func (t *transaction) absent(key string) bool {
	revision, ok := t.asks[key]
	return ok && revision == 0
}

// hasSession reports whether the transaction asks for the caller's own session.
func (t *transaction) hasSession() bool { return t.asks[sessionKey(t.self)] != 0 }

// of returns the one written key of a kind.
func (t *transaction) of(kind string) (string, parsedKey, bool) {
	for _, key := range t.order {
		if t.keys[key].kind == kind {
			return key, t.keys[key], true
		}
	}
	return "", parsedKey{}, false
}

// judge returns nil if the transaction is one that the caller may make.
func (g *Guard) judge(ctx context.Context, t *transaction) error {
	if t.begins() {
		return t.begin()
	}
	if key, k, ok := t.of("daemon"); ok {
		return g.judgeDaemon(ctx, t, key, k.entity)
	}
	if key, k, ok := t.of("group"); ok {
		return g.judgeGroup(ctx, t, key, k.name)
	}
	if _, k, ok := t.of("removed"); ok {
		return t.judgeRemoved(k.node)
	}
	if key, k, ok := t.of("granted"); ok {
		return t.grant(key, k.node)
	}
	if t.only(beatKey(t.self)) && t.sets(beatKey(t.self)) {
		return t.beat()
	}
	if t.only(lifeKey(t.self)) {
		return t.life()
	}
	if _, k, ok := t.of("session"); ok && t.only(sessionKey(k.node), beatKey(k.node)) && !t.sets(sessionKey(k.node)) && !t.sets(beatKey(k.node)) {
		return g.judgeEnd(t, k.node)
	}

	return t.deny("no transaction of the directory writes %v", t.order)
}

// ownRecord returns why a node's record is not what the caller may say of itself.
func (t *transaction) ownRecord(b []byte) error {
	n, err := decodeNode(b)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if n.Key != t.by.Key {
		return t.deny("a record of another node's key")
	}
	return nil
}

func (t *transaction) begin() error {
	session, beat := t.writes[sessionKey(t.self)], t.writes[beatKey(t.self)]
	if len(session) == 0 || len(session) > maxLife {
		return t.deny("a session of %d bytes, from 1 to %d", len(session), maxLife)
	}
	if !bytes.Equal(beat, t.writes[memberKey(t.self)]) {
		return t.deny("a beat that differs from the member's record")
	}
	if !t.absent(removedKey(t.self)) {
		return t.deny("it begins without asking whether it was removed")
	}

	return t.ownRecord(beat)
}

// maxLife bounds what names one life of a node's process.
const maxLife = 64 // bytes of what names one life of a node's process

func (t *transaction) beat() error {
	if !t.hasSession() {
		return t.deny("a beat without its session")
	}
	return t.ownRecord(t.writes[beatKey(t.self)])
}

// life is a node's word about its process.
func (t *transaction) life() error {
	if n := len(t.writes[lifeKey(t.self)]); n == 0 || n > maxLife {
		return t.deny("a life of %d bytes, from 1 to %d", n, maxLife)
	}
	if _, ok := t.asks[lifeKey(t.self)]; !ok || !t.hasSession() {
		return t.deny("a life without its session, or without the revision of the life before")
	}
	return nil
}

// judgeEnd is leave and evict.
func (g *Guard) judgeEnd(t *transaction, node identity.NodeID) error {
	session := t.asks[sessionKey(node)]
	if session == 0 {
		return t.deny("it ends a session that it does not name")
	}
	if node == t.self {
		return nil
	}

	beat := t.asks[beatKey(node)]
	if !t.hasSession() || beat == 0 {
		return t.deny("it ends the session of node %s without its own session and that node's last beat", node)
	}

	v := g.view.Load()
	if v == nil || !v.sawSilent(node, session, beat) {
		return fmt.Errorf("%w: this node has not seen the lease of node %s end", ErrConflict, node)
	}
	return nil
}

func (t *transaction) judgeRemoved(node identity.NodeID) error {
	if !t.by.Decides {
		return denyDecision("decide who is in the cluster")
	}

	removed := removedKey(node)
	if t.only(removed) && !t.sets(removed) {
		return nil // it is let in
	}
	if !t.only(memberKey(node), removed) && !t.only(memberKey(node), grantedKey(node), removed) || t.sets(memberKey(node)) || t.sets(grantedKey(node)) || !t.sets(removed) {
		return t.deny("no transaction of the directory writes %v", t.order)
	}
	if !t.absent(sessionKey(node)) {
		return t.deny("it removes node %s without asking whether that has a session", node)
	}

	n, err := decodeNode(t.writes[removed])
	if err != nil || n.ID() != node {
		return fmt.Errorf("%w: the record of a removed node: %w", ErrMalformed, errors.Join(err, ErrBadRecord))
	}
	return nil
}

func (t *transaction) grant(key string, node identity.NodeID) error {
	if !t.by.Decides {
		return denyDecision("introduce a node")
	}
	if !t.only(key) || !t.sets(key) {
		return t.deny("no transaction of the directory writes %v", t.order)
	}

	grant, err := decodeGrant(t.writes[key])
	if err != nil || grant.Key.Node() != node {
		return fmt.Errorf("%w: a grant: %w", ErrMalformed, errors.Join(err, ErrBadRecord))
	}
	if grant.Rights&^t.by.Rights != 0 {
		return t.deny("it grants rights to node %s that it does not have", node)
	}

	return nil
}

// record reads a daemon's entry, at the revision that the transaction asks for.
func (g *Guard) record(ctx context.Context, t *transaction, key string) (*Daemon, error) {
	at, ok := t.asks[key]
	if !ok {
		return nil, t.deny("it writes %q without asking for a revision", key)
	}

	b, revision, err := g.engine.Get(ctx, key)
	if err != nil {
		return nil, g.engineError(err)
	}
	if revision != at {
		return nil, ErrConflict
	}
	if revision == 0 {
		return nil, nil
	}

	d, err := decodeDaemon(b)
	if err != nil {
		return nil, g.engineError(err)
	}
	return &d, nil
}

func (g *Guard) judgeDaemon(ctx context.Context, t *transaction, key string, id identity.EntityID) error {
	if !t.hasSession() {
		return t.deny("it writes %q without its session", key)
	}

	old, err := g.record(ctx, t, key)
	if err != nil {
		return err
	}
	if !t.sets(key) {
		return g.judgeDelete(ctx, t, key, old)
	}

	d, err := decodeDaemon(t.writes[key])
	if err != nil || d.Entity != id {
		return fmt.Errorf("%w: a daemon's record: %w", ErrMalformed, errors.Join(err, ErrBadRecord))
	}
	if old == nil {
		return g.judgeCreate(ctx, t, key, &d)
	}
	if !t.only(key) {
		return t.deny("no transaction of the directory writes %v", t.order)
	}
	if d.Name != old.Name {
		return t.deny("it gives daemon %s another name", id.Origin())
	}

	if old.Owner == t.self {
		if d.Epoch < old.Epoch || d.Owner != t.self && d.Epoch == old.Epoch {
			return t.deny("daemon %s goes from epoch %d to %d", id.Origin(), old.Epoch, d.Epoch)
		}
		return nil
	}

	return t.takeOver(old, &d)
}

func (t *transaction) takeOver(old, d *Daemon) error {
	if !old.InSync(t.self) {
		return t.deny("daemon %s is of node %s, and this one is no standby in sync", old.Entity.Origin(), old.Owner)
	}
	if !t.absent(sessionKey(old.Owner)) {
		return t.deny("it takes over daemon %s without asking whether its owner has a session", old.Entity.Origin())
	}

	want := old.Without(t.self)
	want.Owner, want.Epoch = t.self, old.Epoch+1
	if d.Owner != want.Owner || d.Epoch != want.Epoch || d.Want != want.Want || d.Ack != want.Ack || !slices.Equal(d.Standbys, want.Standbys) {
		return t.deny("it takes over daemon %s and changes more than its owner", old.Entity.Origin())
	}
	return nil
}

func (g *Guard) judgeCreate(ctx context.Context, t *transaction, key string, d *Daemon) error {
	if d.Owner != t.self {
		return t.deny("it makes daemon %s known as node %s's", d.Entity.Origin(), d.Owner)
	}
	if !validName(d.Name) {
		return t.deny("%q is not a daemon's name", clipText(d.Name))
	}
	if v := g.view.Load(); v != nil && v.owns(t.self) >= MaxOwned {
		return t.deny("it has %d daemons, the limit is %d", MaxOwned, MaxOwned)
	}

	name := nameKey(d.Name)
	at, asked := t.asks[name]
	if t.only(key) { // it came into the cluster with a name that another has
		if has, _, err := g.named(ctx, d.Name); err != nil || has == nil {
			return errors.Join(err, t.deny("it makes daemon %s known without its name", d.Entity.Origin()))
		}
		return nil
	}

	if id, err := decodeName(t.writes[name]); !t.only(key, name) || err != nil || id != d.Entity {
		return t.deny("the name %q is written for another than daemon %s", d.Name, d.Entity.Origin())
	}
	if !asked {
		return t.deny("it writes %q without asking for a revision", name)
	}
	if at == 0 {
		return nil
	}

	has, revision, err := g.named(ctx, d.Name)
	if err != nil {
		return err
	}
	if revision != at || has != nil {
		return fmt.Errorf("%w: the name %q", ErrConflict, d.Name)
	}

	return nil
}

// named returns which known daemon has a name, nil if none has, and the revision of the
// name's key.
func (g *Guard) named(ctx context.Context, name string) (*identity.EntityID, int64, error) {
	b, revision, err := g.engine.Get(ctx, nameKey(name))
	if err != nil || revision == 0 {
		return nil, 0, err
	}

	id, err := decodeName(b)
	if err != nil {
		return nil, 0, g.engineError(err)
	}

	b, at, err := g.engine.Get(ctx, daemonKey(id))
	if err != nil || at == 0 {
		return nil, revision, err
	}

	d, err := decodeDaemon(b)
	if err != nil {
		return nil, 0, g.engineError(err)
	}
	if d.Name != name {
		return nil, revision, nil
	}

	return &id, revision, nil
}

func (g *Guard) judgeDelete(ctx context.Context, t *transaction, key string, old *Daemon) error {
	if old == nil {
		return ErrConflict
	}
	if old.Owner != t.self && !t.by.Decides {
		return t.deny("daemon %s is of node %s", old.Entity.Origin(), old.Owner)
	}
	if old.Owner != t.self && !t.absent(sessionKey(old.Owner)) {
		return t.deny("it deletes daemon %s without asking whether its owner has a session", old.Entity.Origin())
	}

	name, gone := nameKey(old.Name), goneKey(old.Entity)
	if _, ok := t.writes[gone]; ok {
		if err := t.removal(gone, old); err != nil {
			return err
		}
	}

	if t.only(key) || t.only(key, gone) {
		return nil
	}
	if !t.only(key, name) && !t.only(key, name, gone) || t.sets(name) {
		return t.deny("no transaction of the directory writes %v", t.order)
	}

	at, ok := t.asks[name]
	if !ok || at == 0 {
		return t.deny("it removes %q without asking for a revision", name)
	}

	b, revision, err := g.engine.Get(ctx, name)
	if err != nil {
		return g.engineError(err)
	}
	if id, err := decodeName(b); revision == at && (err != nil || id != old.Entity) {
		return t.deny("the name %q is not daemon %s's", old.Name, old.Entity.Origin())
	}

	return nil // at another revision it conflicts
}

// removal returns why a transaction may not write the removal of a daemon. One that is
// signed is signed by the daemon.
func (t *transaction) removal(key string, old *Daemon) error {
	r, err := decodeRemoval(t.writes[key])
	if err != nil || r.Entity != old.Entity || r.Epoch != old.Epoch {
		return fmt.Errorf("%w: the removal of daemon %s: %w", ErrMalformed, old.Entity.Origin(), errors.Join(err, ErrBadRecord))
	}
	if len(r.Signature) > 0 && !r.Signed() {
		return t.deny("the removal of daemon %s is not signed by it", old.Entity.Origin())
	}
	return nil
}

// MaxOwned is how many daemons a node without a vote may have in the directory.
const MaxOwned = 1 << 19
