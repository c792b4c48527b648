package api

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Scope is what an API token is good for.
type Scope uint8

// The scopes. ScopeOperate includes reading and sending, ScopeOwner everything.
const (
	ScopeRead    Scope = 1 << iota // see what there is: daemons, outputs, logs, chains, snapshots, metrics
	ScopeSend                      // send events
	scopeOperate                   // stop, upgrade, mend, move daemons; drain the node
	scopeOwner                     // push kinds, spawn, trust nodes, issue tokens

	ScopeOperate = scopeOperate | ScopeRead | ScopeSend
	ScopeOwner   = scopeOwner | ScopeOperate
)

// ErrBadScope says that a text names no scope.
var ErrBadScope = errors.New("a scope is read, send, operate or owner, or several with commas between")

var scopeNames = []struct {
	name string
	of   Scope
}{{"owner", ScopeOwner}, {"operate", ScopeOperate}, {"read", ScopeRead}, {"send", ScopeSend}}

// String returns what ParseScope reads, in the fewest words.
func (s Scope) String() string {
	var names []string
	left := s
	for _, n := range scopeNames {
		if s&n.of == n.of && left&n.of != 0 {
			names, left = append(names, n.name), left&^n.of
		}
	}
	return strings.Join(names, ",")
}

// ParseScope reads names of scopes with commas between. Errors wrap ErrBadScope.
func ParseScope(text string) (Scope, error) {
	var out Scope
next:
	for _, word := range strings.Split(text, ",") {
		for _, n := range scopeNames {
			if n.name == word {
				out |= n.of
				continue next
			}
		}
		return 0, fmt.Errorf("%w: %q", ErrBadScope, word)
	}

	return out, nil
}

// APIToken is a token by which a caller over TCP names itself. Token is only in
// the answer to who issues it: the node keeps a hash.
type APIToken struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Scope   string    `json:"scope"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	Token   string    `json:"token,omitempty"`
}

// IssueToken asks for one.
type IssueToken struct {
	Name  string `json:"name"`
	Scope string `json:"scope"`
	TTL   string `json:"ttl"` // a duration such as 24h; at most a year
}
