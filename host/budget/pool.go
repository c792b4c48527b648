package budget

import "context"

// Pool is the budget of one purpose: the node's, and below it one for each caller.
type Pool struct {
	node    *Budget
	callers *Shares[string]
}

// NewPool makes a pool: of node bytes in all, of which one caller has at most
// caller.
func NewPool(name string, node, caller int64) *Pool {
	b := New(name, "node", node)
	return &Pool{node: b, callers: NewShares[string](b, "caller", caller)}
}

// Of returns the budget of the caller that the context names (WithCaller), and what
// to call once everything that was acquired from it is released. What the node does
// of its own accord counts as one caller.
func (p *Pool) Of(ctx context.Context) (*Budget, func()) {
	if p == nil {
		return nil, func() {}
	}
	return p.callers.Of(callerOf(ctx))
}

// Use returns what the pool holds. Waiting and Refused are those of the node and of
// all callers.
func (p *Pool) Use() Use {
	u := p.node.Use()
	r := p.node.root
	r.mu.Lock()
	defer r.mu.Unlock()
	u.Waiting, u.Refused = r.waiting, r.refused
	return u
}

type callerKey struct{}

// WithCaller names the caller on whose behalf work is done: peer:ID, token:ID or
// socket.
func WithCaller(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, callerKey{}, name)
}

// callerOf returns the name that WithCaller gave; node where it gave none.
func callerOf(ctx context.Context) string {
	if name, ok := ctx.Value(callerKey{}).(string); ok {
		return name
	}
	return "node"
}

// Sizes are the limits of a node's pools, in bytes. A zero field means its default.
type Sizes struct {
	Requests        int64 // bodies of requests and frames of events that were read and not yet applied
	RequestsCaller  int64 // of one peer, token or the socket
	Answers         int64 // answers that were not yet read by those who asked
	AnswersCaller   int64
	Followers       int64 // outputs, log lines and happenings that wait for those who follow
	FollowersCaller int64
	Uploads         int64 // modules and snapshots in bodies of requests; one caller may have all
}

// Defaults of the pools, and the share that one stream has of its caller's.
const (
	DefaultRequests        = 512 << 20
	DefaultRequestsCaller  = 128 << 20
	DefaultAnswers         = 256 << 20
	DefaultAnswersCaller   = 128 << 20
	DefaultFollowers       = 256 << 20
	DefaultFollowersCaller = 128 << 20
	DefaultUploads         = 1<<30 + 64<<20 // one of the largest, and small ones

	// What one stream or follower may queue. A single event, answer or output that is
	// larger passes alone (Budget.Lone).
	StreamRequests = 4 << 20
	StreamAnswers  = 8 << 20
	OneFollower    = 4 << 20
)

// Set is the pools of a node.
type Set struct {
	Requests  *Pool
	Answers   *Pool
	Followers *Pool

	// Early is of answers by members of a group that others' answers must precede. It
	// is a pool of its own, so that those can always come.
	Early *Pool

	// Uploads is of bodies that are modules and snapshots.
	Uploads *Pool
}

// NewSet makes the pools of a node.
func NewSet(s Sizes) *Set {
	or := func(v, otherwise int64) int64 {
		if v == 0 {
			return otherwise
		}
		return v
	}
	return &Set{
		Requests:  NewPool("requests", or(s.Requests, DefaultRequests), or(s.RequestsCaller, DefaultRequestsCaller)),
		Answers:   NewPool("answers", or(s.Answers, DefaultAnswers), or(s.AnswersCaller, DefaultAnswersCaller)),
		Early:     NewPool("early-answers", or(s.Answers, DefaultAnswers), or(s.AnswersCaller, DefaultAnswersCaller)),
		Uploads:   NewPool("uploads", or(s.Uploads, DefaultUploads), or(s.Uploads, DefaultUploads)),
		Followers: NewPool("followers", or(s.Followers, DefaultFollowers), or(s.FollowersCaller, DefaultFollowersCaller)),
	}
}

// Uses returns what each pool holds, by name.
func (s *Set) Uses() []Use {
	return []Use{s.Answers.Use(), s.Early.Use(), s.Followers.Use(), s.Requests.Use(), s.Uploads.Use()}
}
