package control

import (
	"context"
	"net/http"
	"time"

	"wasmhost/host"
)

// Incarnation says which life of a node this is.
type Incarnation struct {
	Number    uint64    `json:"incarnation"`       // how often the node was restored from a backup
	Backup    string    `json:"backup,omitempty"`  // its id
	Taken     time.Time `json:"taken,omitzero"`    // when the backup was made
	Restored  time.Time `json:"restored,omitzero"` // when it was restored
	Confirmed bool      `json:"confirmed"`         // an operator has confirmed it, or it was never restored
}

func incarnationOf(in host.Incarnation) Incarnation {
	if in.Number == 0 {
		return Incarnation{Confirmed: in.Confirmed}
	}
	return Incarnation{Number: in.Number, Backup: in.Backup, Taken: in.Taken.UTC(), Restored: in.Restored.UTC(), Confirmed: in.Confirmed}
}

func (s *Server) getIncarnation(w http.ResponseWriter, _ *http.Request) error {
	if err := s.rt.Ready(); err != nil {
		return err
	}
	return writeJSON(w, incarnationOf(s.rt.Incarnation()))
}

func (s *Server) postIncarnation(w http.ResponseWriter, r *http.Request) error {
	if err := s.rt.ConfirmNode(r.Context()); err != nil {
		return err
	}
	return writeJSON(w, incarnationOf(s.rt.Incarnation()))
}

// Incarnation returns which life of the node this is.
func (c *Client) Incarnation(ctx context.Context) (out Incarnation, err error) {
	return out, c.call(ctx, "GET", "incarnation", nil, &out)
}

// ConfirmNode confirms a node that was restored: its channels are open again.
func (c *Client) ConfirmNode(ctx context.Context) (out Incarnation, err error) {
	return out, c.call(ctx, "POST", "incarnation/confirm", nil, &out)
}
