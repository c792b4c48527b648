package control

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"wasmhost/host"
	"wasmhost/host/chain"
)

// Conflict is what a proof of equivocation proves.
type Conflict struct {
	Origin   string    `json:"origin"`
	EntityID string    `json:"entity_id"`
	Epoch    uint64    `json:"epoch"`
	Sequence uint64    `json:"sequence"`
	Hashes   [2]string `json:"hashes"` // of the links that are said to stand there
	Handover bool      `json:"handover,omitempty"`
}

// ConflictOf says what c says.
func ConflictOf(c chain.Conflict) Conflict {
	return Conflict{Origin: c.Entity.Origin().String(), EntityID: c.Entity.String(), Epoch: c.Epoch, Sequence: c.Sequence,
		Hashes: [2]string{c.Hashes[0].String(), c.Hashes[1].String()}, Handover: c.Handover}
}

// Accusation is a proof on record.
type Accusation struct {
	Conflict
	Recorded time.Time  `json:"recorded"`
	Found    bool       `json:"found"` // by the node itself; else an operator brought it
	Pardoned *time.Time `json:"pardoned,omitempty"`
}

func accusationOf(a host.Accusation) Accusation {
	out := Accusation{Conflict: ConflictOf(a.Conflict), Recorded: a.Recorded, Found: a.Found}
	if !a.Pardoned.IsZero() {
		out.Pardoned = &a.Pardoned
	}
	return out
}

func (s *Server) getProofs(w http.ResponseWriter, r *http.Request) error {
	if err := s.rt.Ready(); err != nil {
		return err
	}
	out := []Accusation{}
	for _, a := range s.rt.Accusations() {
		out = append(out, accusationOf(a))
	}
	key := func(a Accusation) string { return ordered(a.Recorded) + a.EntityID }
	slices.SortFunc(out, func(a, b Accusation) int { return strings.Compare(key(a), key(b)) })
	return writePage(w, r, out, key)
}

func (s *Server) postProof(w http.ResponseWriter, r *http.Request) error {
	b, err := readAll(w, r, chain.MaxProof+1024)
	if err != nil {
		return err
	}
	proof, err := chain.ReadEquivocation(bytes.NewReader(b))
	if err != nil {
		return err
	}
	a, err := s.rt.Accuse(r.Context(), proof)
	if err != nil {
		return err
	}
	return writeJSON(w, accusationOf(a))
}

func (s *Server) getProof(w http.ResponseWriter, r *http.Request) error {
	text := r.PathValue("ref")
	id, err := s.rt.FindAccused(text)
	if errors.Is(err, host.ErrNotAccused) && queryOf(r).is(byPrefix.name) {
		id, err = s.rt.AccusedBegunBy(text)
	}
	if err != nil {
		return err
	}
	proof, err := s.rt.Proof(id)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = proof.WriteTo(w) // the client sees a cut stream if this fails
	return nil
}

func (s *Server) deleteProof(w http.ResponseWriter, r *http.Request) error {
	id, err := s.rt.FindAccused(r.PathValue("ref"))
	if err != nil {
		return err
	}
	a, err := s.rt.Pardon(r.Context(), id)
	if err != nil {
		return err
	}
	return writeJSON(w, accusationOf(a))
}

// Accuse puts the proof in a file on record: the node then refuses the identity.
func (c *Client) Accuse(ctx context.Context, proof io.Reader) (out Accusation, err error) {
	return out, c.call(ctx, "POST", "proofs", proof, &out)
}

// Accusations lists the proofs on record.
func (c *Client) Accusations(ctx context.Context) (out []Accusation, err error) {
	return out, c.call(ctx, "GET", "proofs", nil, &out)
}

// Proof returns the proof on record against a daemon, as a file. The caller
// closes it.
func (c *Client) Proof(ctx context.Context, ref string) (io.ReadCloser, error) {
	return c.do(ctx, "GET", "proofs/"+segment(ref), nil, nil)
}

// Pardon lets the node use an identity again.
func (c *Client) Pardon(ctx context.Context, ref string) (out Accusation, err error) {
	return out, c.call(ctx, "DELETE", "proofs/"+segment(ref), nil, &out)
}
