package api

// Busiest are the daemons of a node that use most, the heaviest first.
type Busiest struct {
	Seconds float64 `json:"seconds"` // for how long it was looked
	Daemons []Top   `json:"daemons"`
}

// Top is what one daemon uses, a second, over a while.
type Top struct {
	Name     string  `json:"name"`
	EntityID string  `json:"entity_id"`
	Origin   string  `json:"origin"`
	Kind     string  `json:"kind"`
	State    string  `json:"state"`
	CPU      float64 `json:"cpu"`                // seconds of processor time
	Bytes    float64 `json:"bytes_per_second"`   // of history
	Direct   float64 `json:"direct_per_second"`  // events from outside
	Timers   float64 `json:"timers_per_second"`  // events of its timers
	Daemons  float64 `json:"daemons_per_second"` // events of other daemons
	Channels float64 `json:"channels_per_second"`
	Waiting  int     `json:"waiting"` // events that wait, from outside or for a turn
}
