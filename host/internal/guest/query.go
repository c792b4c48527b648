package guest

import (
	"errors"
	"time"

	"wasmhost.example/abi"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/sandbox"
)

// Query asks the guest, which is as before then. Errors: daemon.ErrNoQueries,
// daemon.ErrPatience where it takes longer than patience, *abi.Fault.
func (d *Daemon) Query(c *daemon.Call, payload []byte, patience time.Duration) ([]byte, error) {
	e := d.event(c)
	e.Kind, e.Call, e.Status = abi.EventQuery, 0, 0
	answer, err := d.guest.Query(e, payload, patience)

	switch {
	case errors.Is(err, sandbox.ErrNoQueries):
		err = daemon.ErrNoQueries
	case errors.Is(err, sandbox.ErrPatience):
		err = daemon.ErrPatience
	}
	return answer, err
}

// Queries reports whether the module answers queries.
func (d *Daemon) Queries() bool { return d.report.HasQuery }

// View is what a daemon was between two events, while it goes on. It is immutable.
type View struct {
	report *abi.Report
	view   *sandbox.View
	most   int64
}

// View returns what the guest is.
func (d *Daemon) View() (*View, error) {
	v, err := d.guest.View()
	if err != nil {
		return nil, err
	}
	return &View{d.report, v, d.most}, nil
}

// ViewBefore returns what the guest was before the event that is being processed. Env.Pause
// alone calls it.
func (d *Daemon) ViewBefore() *View { return &View{d.report, d.guest.ViewBefore(), d.most} }

// Open makes a daemon that is what the view is of, to be asked and closed. rules must answer as
// those of the viewed daemon did.
func (v *View) Open(rules daemon.EffectRules) (*Daemon, error) {
	g, err := v.view.Open(rules)
	if err != nil {
		return nil, err
	}
	return &Daemon{report: v.report, guest: g, most: v.most}, nil
}
