package control

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"wasmhost/host/chain"
)

// Mend asks for a daemon that cannot go on to be brought back: How is retry,
// skip or rollback.
type Mend struct {
	How string `json:"how"`
}

// Mended is what a mending did.
type Mended struct {
	How      string `json:"how"`
	Count    uint64 `json:"count"`                      // skip: events that differed; rollback: history records dropped
	Sequence uint64 `json:"dropped_sequence,omitempty"` // rollback: of the last output dropped
	Head     string `json:"dropped_head,omitempty"`     // rollback: its hash
	After    uint64 `json:"after_sequence"`
	Epoch    uint64 `json:"epoch"`
}

// MendedOf says what a mending did.
func MendedOf(m chain.Mended) Mended {
	out := Mended{How: m.How.String(), Count: m.Count, Sequence: m.Sequence, After: m.After, Epoch: m.Epoch}
	if m.Sequence > 0 {
		out.Head = m.Head.String()
	}
	return out
}

func (s *Server) postMend(w http.ResponseWriter, r *http.Request) error {
	var req Mend
	if err := readJSON(w, r, &req); err != nil {
		return err
	}
	for _, how := range []chain.Mend{chain.MendRetry, chain.MendSkip, chain.MendRollback} {
		if how.String() == req.How {
			fact, err := s.rt.MendDaemon(r.Context(), entity(r), how)
			if err != nil {
				return err
			}
			return writeJSON(w, MendedOf(fact))
		}
	}
	return fmt.Errorf("%w: how is %q, not retry, skip or rollback", errBadRequest, req.How)
}

// Mend brings back a daemon that cannot go on.
func (c *Client) Mend(ctx context.Context, ref string, req Mend) (out Mended, err error) {
	body, err := json.Marshal(req)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, "POST", daemonPath(ref, "/mend"), bytes.NewReader(body), &out)
}
