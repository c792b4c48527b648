package convert

import (
	"encoding/hex"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
)

// MendedOf says what a mending did.
func MendedOf(m chain.Mended) api.Mended {
	out := api.Mended{How: m.How.String(), Count: m.Count, Sequence: m.Sequence, After: m.After, Epoch: m.Epoch}
	if m.Sequence > 0 {
		out.Head = m.Head.String()
	}
	return out
}

// ConflictOf says what c says.
func ConflictOf(c chain.Conflict) api.Conflict {
	return api.Conflict{Origin: c.Entity.Origin().String(), EntityID: c.Entity.String(), Epoch: c.Epoch, Sequence: c.Sequence,
		Hashes: [2]string{c.Hashes[0].String(), c.Hashes[1].String()}, Handover: c.Handover}
}

// AccusationOf returns a proof of two histories with what this node did about it.
func AccusationOf(a daemon.Accusation) api.Accusation {
	out := api.Accusation{Conflict: ConflictOf(a.Conflict), Recorded: a.Recorded, Found: a.Found}
	if !a.Pardoned.IsZero() {
		out.Pardoned = &a.Pardoned
	}
	return out
}

// ReceiptOf says what r is.
func ReceiptOf(r *chain.Receipt) (api.Receipt, error) {
	sum, err := r.Digest()
	f, s := &r.Facts, &r.Source
	out := api.Receipt{Digest: sum.String(), Origin: f.Entity.Origin().String(), EntityID: f.Entity.String(), Kind: f.Kind, Module: hex.EncodeToString(f.Module),
		From: f.From.String(), To: f.To.String(), ToKey: r.Target.Key.String(), Epoch: f.Epoch, Sequence: f.Sequence, Applied: f.Applied, Head: f.Head.String(),
		State: hex.EncodeToString(f.State), Queued: s.Queued, Bytes: s.Bytes, Rounds: s.Rounds, DowntimeMS: Milliseconds(r.Downtime()),
		Activated: time.Unix(0, r.Target.Activated).UTC(), Whole: r.Whole()}
	if r.Whole() {
		out.FromKey, out.Started, out.Confirmed = s.Key.String(), time.Unix(0, s.Started).UTC(), time.Unix(0, s.Confirmed).UTC()
	}
	return out, err
}
