package api

// Application is what wasmhost apply made, under one name: it is what apply --prune removes
// when it is wanted no more. A node keeps it for those who ask that node.
type Application struct {
	Name     string    `json:"name"`
	Revision uint64    `json:"revision"` // counts its changes; to change it one names the revision that it has, 0: it is new
	Made     []Applied `json:"made"`     // in order of type and name
}

// Applied is one thing that apply made.
type Applied struct {
	Type string `json:"type"` // kind, channel, daemon, group or grant
	Name string `json:"name"`
}

// MaxApplied is how many things one application may have made.
const MaxApplied = 4096
