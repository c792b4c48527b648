package access

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/api/server/problem"
)

// A request that changes something may carry the header Idempotency-Key: sent
// again under the same key it is answered as before, and changes nothing again.
// The node remembers for a day, in memory: a restart forgets. Events have ids of
// their own (?id), which are remembered for good.

// Bounds on what is remembered.
const (
	MaxKey         = 255      // bytes of an idempotency key
	maxKeys        = 4096     // keys that are remembered
	maxKeptAnswer  = 1 << 20  // bytes of an answer that is remembered
	maxKeptAnswers = 64 << 20 // bytes of all of them
	keysKept       = 24 * time.Hour
)

// answers are what was answered under keys. They are safe for concurrent use.
type answers struct {
	mu    sync.Mutex
	byKey map[string]*keptAnswer
	order []*keptAnswer // oldest first
	bytes int
}

type keptAnswer struct {
	key     string
	request [sha256.Size]byte
	at      time.Time
	done    bool
	dropped bool // the body was too large
	status  int
	header  http.Header
	body    []byte
}

// admission is a request on its way to the check of its caller's rights.
type admission struct {
	out *response
	op  Operation
	who caller
}

type admissionKey struct{}

// Admitted has h answer a request whose caller may put it: what comes with it is read
// from here on. Every check of rights ends here.
func (g *Guard) Admitted(w http.ResponseWriter, r *http.Request, h web.Handler) error {
	a, _ := r.Context().Value(admissionKey{}).(*admission)
	if a == nil || !keyed(r) {
		return h(w, r) // a follower waits in here: what it has on its stack is small
	}
	return g.once(a.out, r.WithContext(context.WithValue(r.Context(), admissionKey{}, (*admission)(nil))), a.op, a.who, h)
}

// keyed reports whether the request is to be carried out once.
func keyed(r *http.Request) bool {
	return web.Changes(r.Method) && r.Header.Get(api.IdempotencyHeader) != ""
}

// once has h answer the request, or answers as before where its key was seen.
func (g *Guard) once(w *response, r *http.Request, op Operation, who caller, h web.Handler) error {
	key := r.Header.Get(api.IdempotencyHeader)
	if op.Event {
		return h(w, r)
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%s %s\n", r.Method, r.URL.RequestURI())
	body, err := web.ReadAll(w, r, op.bodyLimit())
	if err != nil {
		return err
	}
	sum.Write(body)
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	k := &keptAnswer{key: who.name + "\x00" + key, at: g.tokens.clock(), request: [sha256.Size]byte(sum.Sum(nil))}
	if old, err := g.answers.begin(k); err != nil {
		return err
	} else if old != nil {
		for name, values := range old.header {
			w.Header()[name] = values
		}
		w.Header().Set("Idempotency-Replayed", "true")
		w.WriteHeader(old.status)
		_, _ = w.Write(old.body) // the client is gone if this fails
		return nil
	}
	keep := &keepingWriter{ResponseWriter: w.ResponseWriter, kept: k}
	w.ResponseWriter = keep
	ended := false
	defer func() { // also where h panics
		w.ResponseWriter = keep.ResponseWriter
		g.answers.end(k, w.code(), w.Header(), ended)
	}()
	err = outcome(r, h(w, r))
	if err != nil {
		w.problem = problem.Of(err)
		problem.Write(w, err)
	}
	ended = w.code() < 500 // what failed for the node's sake may be tried again
	return nil
}

// keepingWriter keeps what is answered.
type keepingWriter struct {
	http.ResponseWriter
	kept *keptAnswer
}

func (k *keepingWriter) Write(b []byte) (int, error) {
	if len(k.kept.body)+len(b) > maxKeptAnswer {
		k.kept.dropped, k.kept.body = true, nil
	}
	if !k.kept.dropped {
		k.kept.body = append(k.kept.body, b...)
	}
	return k.ResponseWriter.Write(b)
}

func (k *keepingWriter) Unwrap() http.ResponseWriter { return k.ResponseWriter }

// begin returns what was answered under the key; nil where it is new: end must
// follow then.
func (a *answers) begin(k *keptAnswer) (*keptAnswer, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.order) > 0 && (k.at.Sub(a.order[0].at) > keysKept || len(a.order) >= maxKeys || a.bytes > maxKeptAnswers) {
		if !a.order[0].done && k.at.Sub(a.order[0].at) <= keysKept {
			break // it is being answered
		}
		a.remove(a.order[0])
	}
	old := a.byKey[k.key]
	switch {
	case old == nil && len(a.order) >= maxKeys:
		return nil, fmt.Errorf("%w: %d requests with keys are being answered", problem.ErrKeyInUse, len(a.order))
	case old == nil:
		if a.byKey == nil {
			a.byKey = make(map[string]*keptAnswer)
		}
		a.byKey[k.key] = k
		a.order = append(a.order, k)
		return nil, nil
	case old.request != k.request:
		return nil, problem.ErrKeyReused
	case !old.done:
		return nil, problem.ErrKeyInUse
	case old.dropped:
		return nil, problem.ErrKeyLarge
	}
	return old, nil
}

// end remembers the answer, or forgets the key where there is none.
func (a *answers) end(k *keptAnswer, status int, h http.Header, keep bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !keep {
		a.remove(k)
		return
	}
	k.done, k.status, k.header = true, status, h.Clone()
	a.bytes += len(k.body)
}

// remove needs a.mu.
func (a *answers) remove(k *keptAnswer) {
	if a.byKey[k.key] == k {
		delete(a.byKey, k.key)
	}
	for i, o := range a.order {
		if o == k {
			a.order = append(a.order[:i], a.order[i+1:]...)
			break
		}
	}
	if k.done {
		a.bytes -= len(k.body)
	}
}
