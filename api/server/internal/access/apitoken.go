package access

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/api/server/problem"
	"wasmhost.example/host/store"
	"wasmhost.example/internal/canon"
)

// Bounds on tokens.
const (
	maxAPITokens = 1024                 // API tokens of a node
	maxAPITTL    = 366 * 24 * time.Hour // how long an API token may be good
	maxTokenName = 255                  // bytes of an API token's name
)

// tokenPrefix begins every token, for scanners of leaked secrets to know it by.
const tokenPrefix = "wasmhost_"

// apiToken is a token that is good until it expires or is revoked.
type apiToken struct {
	id, name         string
	hash             [sha256.Size]byte
	scope            api.Scope
	created, expires time.Time
	revoked          context.Context
	revoke           context.CancelCauseFunc
}

// apiRecord is how the store keeps one, in store.Meta.
type apiRecord struct {
	_                struct{} `cbor:",toarray"`
	Name             string
	Hash             []byte
	Scope            uint8
	Created, Expires int64
}

var apiKeys = []byte("api-token/")

// apiTokens are those of a node. They are safe for concurrent use.
type apiTokens struct {
	store *store.Store // nil: they end with the node
	clock func() time.Time

	mu   sync.Mutex
	byID map[string]*apiToken
}

// LoadTokens makes the server know the API tokens that st holds, and keep there
// those that it issues. It is called before the server serves.
func (g *Guard) LoadTokens(st *store.Store) error {
	g.tokens.store = st
	return st.ScanPrefix(store.Meta, apiKeys, func(k, v []byte) error {
		var rec apiRecord
		if err := canon.Unmarshal(v, &rec); err != nil || len(rec.Hash) != sha256.Size {
			return fmt.Errorf("%w: API token %q: %w", store.ErrCorrupt, k, err)
		}
		t := newAPIToken(string(k[len(apiKeys):]), rec.Name, api.Scope(rec.Scope), time.Unix(0, rec.Created), time.Unix(0, rec.Expires))
		copy(t.hash[:], rec.Hash)
		g.tokens.mu.Lock()
		defer g.tokens.mu.Unlock()
		g.tokens.byID[t.id] = t
		return nil
	})
}

func newAPIToken(id, name string, scope api.Scope, created, expires time.Time) *apiToken {
	t := &apiToken{id: id, name: name, scope: scope, created: created.UTC(), expires: expires.UTC()}
	t.revoked, t.revoke = context.WithCancelCause(context.Background())
	return t
}

func (t *apiToken) public() api.APIToken {
	return api.APIToken{ID: t.id, Name: t.name, Scope: t.scope.String(), Created: t.created, Expires: t.expires}
}

// context ends when the token does: what it was let in for goes no further.
func (t *apiToken) context(ctx context.Context, now time.Time) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeoutCause(ctx, t.expires.Sub(now), problem.ErrAPIExpired)
	stop := context.AfterFunc(t.revoked, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// IssueToken makes an API token: the answer alone has its text.
func (g *Guard) IssueToken(req api.IssueToken) (api.APIToken, error) { return g.tokens.issue(req) }

// CheckToken returns what the token is that text is. Errors: problem.ErrTokenUnknown,
// problem.ErrAPIExpired.
func (g *Guard) CheckToken(text string) (api.APIToken, error) {
	t, err := g.tokens.check(text)
	if err != nil {
		return api.APIToken{}, err
	}
	return t.public(), nil
}

// SetClock sets by what tokens end, and idempotency keys are forgotten; without it that is
// time.Now.
func (g *Guard) SetClock(now func() time.Time) { g.tokens.clock = now }

// check returns the token that text is: ErrTokenUnknown or ErrAPIExpired where
// it is none that is good. Whoever guesses learns nothing from how long it
// takes.
func (a *apiTokens) check(text string) (*apiToken, error) {
	id, _, ok := strings.Cut(strings.TrimPrefix(text, tokenPrefix), "_")
	a.mu.Lock()
	t := a.byID[id]
	a.mu.Unlock()
	sum := sha256.Sum256([]byte(text))
	if !ok || t == nil || subtle.ConstantTimeCompare(sum[:], t.hash[:]) != 1 {
		return nil, problem.ErrTokenUnknown
	}
	if !a.clock().Before(t.expires) {
		return nil, fmt.Errorf("%w: at %s", problem.ErrAPIExpired, t.expires.Format(time.RFC3339))
	}
	return t, nil
}

func (a *apiTokens) issue(req api.IssueToken) (api.APIToken, error) {
	scope, err := api.ParseScope(req.Scope)
	if err != nil {
		return api.APIToken{}, fmt.Errorf("%w: %w", api.ErrBadRequest, err)
	}
	ttl, err := time.ParseDuration(req.TTL)
	if err != nil || ttl <= 0 || ttl > maxAPITTL {
		return api.APIToken{}, fmt.Errorf("%w: ttl %q is not a duration between 0 and %v", api.ErrBadRequest, req.TTL, maxAPITTL)
	}
	if len(req.Name) == 0 || len(req.Name) > maxTokenName {
		return api.APIToken{}, fmt.Errorf("%w: a token's name has 1 to %d bytes, not %d", api.ErrBadRequest, maxTokenName, len(req.Name))
	}
	var random [8 + 32]byte
	if _, err := rand.Read(random[:]); err != nil {
		return api.APIToken{}, err
	}
	now := a.clock()
	t := newAPIToken(hex.EncodeToString(random[:8]), req.Name, scope, now, now.Add(ttl))
	text := tokenPrefix + t.id + "_" + base64.RawURLEncoding.EncodeToString(random[8:])
	t.hash = sha256.Sum256([]byte(text))
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, old := range a.byID { // those that have expired are shown until there is need of their place
		if len(a.byID) >= maxAPITokens && !now.Before(old.expires) {
			if err := a.forget(id); err != nil {
				return api.APIToken{}, err
			}
		}
	}
	if len(a.byID) >= maxAPITokens {
		return api.APIToken{}, fmt.Errorf("%w: %d", problem.ErrTooManyTokens, len(a.byID))
	}
	if a.store != nil {
		rec, err := canon.Marshal(&apiRecord{Name: t.name, Hash: t.hash[:], Scope: uint8(scope), Created: now.UnixNano(), Expires: t.expires.UnixNano()})
		if err != nil {
			return api.APIToken{}, err
		}
		b := &store.Batch{}
		b.Put(store.Meta, append(bytes.Clone(apiKeys), t.id...), rec)
		if err := a.store.Commit(b); err != nil {
			return api.APIToken{}, fmt.Errorf("storing an API token: %w", err)
		}
	}
	a.byID[t.id] = t
	out := t.public()
	out.Token = text
	return out, nil
}

// forget needs a.mu.
func (a *apiTokens) forget(id string) error {
	if a.store != nil {
		b := &store.Batch{}
		b.Delete(store.Meta, append(bytes.Clone(apiKeys), id...))
		if err := a.store.Commit(b); err != nil {
			return fmt.Errorf("forgetting an API token: %w", err)
		}
	}
	a.byID[id].revoke(problem.ErrTokenUnknown)
	delete(a.byID, id)
	return nil
}

// PostAPIToken issues an API token and answers with it; the secret is in no later answer.
func (g *Guard) PostAPIToken(w http.ResponseWriter, r *http.Request) error {
	var req api.IssueToken
	if err := web.ReadJSON(w, r, &req); err != nil {
		return err
	}
	t, err := g.tokens.issue(req)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, t)
}

// GetAPITokens answers with the API tokens, without their secrets.
func (g *Guard) GetAPITokens(w http.ResponseWriter, r *http.Request) error {
	out := []api.APIToken{}
	g.tokens.mu.Lock()
	for _, t := range g.tokens.byID {
		out = append(out, t.public())
	}
	g.tokens.mu.Unlock()
	key := func(t api.APIToken) string { return web.Ordered(t.Created) + t.ID }
	slices.SortFunc(out, func(a, b api.APIToken) int { return strings.Compare(key(a), key(b)) })
	return web.WritePage(w, r, out, key)
}

// DeleteAPIToken revokes a token. What it was let in for ends.
func (g *Guard) DeleteAPIToken(w http.ResponseWriter, r *http.Request) error {
	g.tokens.mu.Lock()
	defer g.tokens.mu.Unlock()
	t := g.tokens.byID[r.PathValue("id")]
	if t == nil {
		return fmt.Errorf("%w: %q", problem.ErrNoSuchToken, r.PathValue("id"))
	}
	if err := g.tokens.forget(t.id); err != nil {
		return err
	}
	return web.WriteJSON(w, t.public())
}
