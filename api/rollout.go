package api

import (
	"errors"
)

// ErrRollout says that a rollout left daemons that are not of the module it was to give
// them, or was stopped.
var ErrRollout = errors.New("not every daemon was upgraded")

// Rolled is what became of one daemon of a rollout.
type Rolled struct {
	Name     string `json:"name"`
	EntityID string `json:"entity_id"`
	NodeID   string `json:"node_id"`          // where it was
	From     string `json:"from_module"`      // before
	State    string `json:"state"`            // already, would-upgrade, upgraded, failed, rolled-back or left: upgraded, and could not be rolled back
	Reason   string `json:"reason,omitempty"` // of failed and left

	Code string `json:"code,omitempty"` // of the reason, as of a Problem
}

// RolloutProgress is how far a rollout is. A daemon that was rolled back is not counted as
// upgraded any more.
type RolloutProgress struct {
	Total      int `json:"total"`
	Already    int `json:"already"` // they were of the module before
	Upgraded   int `json:"upgraded"`
	Failed     int `json:"failed"`
	RolledBack int `json:"rolled_back"`
	Left       int `json:"left"`      // upgraded, and could not be rolled back
	Untouched  int `json:"untouched"` // the rollout stopped before them, or has not come to them
}

// Rollout asks that all daemons of a kind, or the members of a group, on all nodes, go over
// to another version of their code.
type Rollout struct {
	Kind  string `json:"kind,omitempty"`  // one of Kind and Group
	Group string `json:"group,omitempty"` // its name
	To    string `json:"to"`              // the module's whole digest, or "latest": the kind's own on the node that is asked

	Parallel    int  `json:"parallel,omitempty"`     // daemons at a time, at most 64; 0: 4
	MaxFailures int  `json:"max_failures,omitempty"` // after more of them it stops
	NoRollback  bool `json:"no_rollback,omitempty"`  // when it stops, what is upgraded stays so
	DryRun      bool `json:"dry_run,omitempty"`      // say what would be upgraded, and upgrade nothing
}

// RolloutStep is one line of the answer to Rollout: what became of a daemon, with how far
// the rollout is, or the end.
type RolloutStep struct {
	Daemon   *Rolled          `json:"daemon,omitempty"`
	Progress *RolloutProgress `json:"progress,omitempty"`
	Summary  *RolloutSummary  `json:"summary,omitempty"`
	Error    *Problem         `json:"error,omitempty"`
}

// RolloutSummary is how a rollout ended.
type RolloutSummary struct {
	Module string `json:"module"` // digest
	RolloutProgress
	ElapsedMS float64       `json:"elapsed_ms"`
	Unasked   []RolloutNode `json:"unasked,omitempty"` // nodes that refuse to say which daemons they have
}

// RolloutNode is a node whose daemons a rollout does not reach, and why.
type RolloutNode struct {
	NodeID string `json:"node_id"`
	Name   string `json:"name,omitempty"`
	Reason string `json:"reason"`
}
