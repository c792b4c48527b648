package api

// DryRunParameter is the parameter of a request that asks what it would do: who asks, names
// and what must be there are checked as always, nothing is changed, and the answer is a Plan.
const DryRunParameter = "dry_run"

// Plan is what a request would do.
type Plan struct {
	DryRun   bool     `json:"dry_run"`
	NodeID   string   `json:"node_id"`        // where it would be done
	Name     string   `json:"name,omitempty"` // to what
	EntityID string   `json:"entity_id,omitempty"`
	Notes    []string `json:"notes,omitempty"` // what would come of it, in words
}
