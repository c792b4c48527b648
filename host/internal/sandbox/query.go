package sandbox

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"wasmhost.example/abi"
)

// ErrNoQueries is for a module that does not export abi.ExportQuery.
var ErrNoQueries = errors.New("the module answers no queries")

// ErrPatience says that a query took longer than its caller waits for it here. It left no
// trace.
var ErrPatience = errors.New("the query takes longer")

// Query returns a copy of the guest's answer to a question. Whatever the guest changes to find
// it is undone; output and effects are a fault. The limits of an event hold. Where it takes
// longer than patience, above 0, it ends with ErrPatience. ErrNoQueries.
func (g *Guest) Query(ev *Event, payload []byte, patience time.Duration) ([]byte, error) {
	if !g.module.report.HasQuery {
		return nil, ErrNoQueries
	}
	i, err := g.take()
	if err != nil {
		return nil, err
	}
	defer func() { i.unlock() }()
	if err := g.undo.settle(g, i); err != nil {
		g.spoil(i)
		return nil, fmt.Errorf("%w: %w", ErrBroken, err)
	}

	i.meter.patience, g.asking = patience, true
	answer, err := i.query(ev, payload)
	i.meter.patience, g.asking = 0, false
	if errors.Is(err, ErrStopped) {
		err = ErrPatience
	}

	g.fuel = i.meter.used()
	var undoErr error
	if i, undoErr = g.undo.roll(g, i); undoErr != nil {
		g.spoil(i)
		return nil, fmt.Errorf("%w: %w", ErrBroken, undoErr)
	}
	return answer, err
}

// settle makes what g is the mark, where calls were made since.
func (u *undo) settle(g *Guest, i *instance) error {
	if u.calls == 0 {
		return nil
	}
	return u.mark(g, i)
}

// query asks the guest.
func (i *instance) query(ev *Event, data []byte) ([]byte, error) {
	i.stoppable = false
	i.begin(abi.ExportQuery, ev)
	if err := i.give(data); err != nil {
		return nil, err
	}
	if err := i.run(i.fn.query, i.stack[:]); err != nil {
		return nil, err
	}

	r := i.stack[0]
	if r == abi.QueryFailed {
		return nil, i.broke(abi.FaultError, -1, i.call.text())
	}
	if most := i.bound.options.Limits.OutputBytes; uint64(uint32(r)) > uint64(most) {
		return nil, i.overLimit(abi.LimitOutputBytes, fmt.Sprintf("its answer has %d bytes, more than %d", uint32(r), most))
	}
	b, ok := i.mod.Memory().Read(uint32(r>>32), uint32(r))
	if !ok {
		return nil, i.broke(abi.FaultAnswer, 0, fmt.Sprintf("it returned %d bytes at %#x, outside its memory", uint32(r), uint32(r>>32)))
	}
	return append(make([]byte, 0, len(b)), b...), nil
}

// View is what a guest was between two of its calls, while it goes on. Guests can be made of
// it that answer queries. It is immutable.
type View struct {
	module  *Module
	options Options
	undo    undo
}

// ViewBefore returns what the guest was before the call that is under way. Options.Pause alone
// calls it.
func (g *Guest) ViewBefore() *View { return g.viewed() }

// View returns what the guest is.
func (g *Guest) View() (*View, error) {
	release, err := g.hold()
	if err != nil {
		return nil, err
	}
	defer release()
	if err := g.usable(); err != nil {
		return nil, err
	}
	return g.viewed(), nil
}

// viewed needs nobody else to make marks of g.
func (g *Guest) viewed() *View {
	at := &g.undo.at
	if at.line == nil {
		at.line = &line{written: make(map[uint32]uint32)}
	}
	at.line.gen++ // the mark writes to none of the blocks that the view has

	v := &View{module: g.module, options: g.options}
	v.undo = undo{calls: g.undo.calls, since: slices.Clone(g.undo.since), runs: slices.Clone(g.undo.runs), stateless: g.undo.stateless}
	v.undo.at = mark{size: at.size, regs: at.regs.clone(), blocks: maps.Clone(at.blocks), packed: at.packed}
	return v
}

// Open makes a guest that is what the view is of, to be asked and closed. rules answer as the
// viewed guest's did.
func (v *View) Open(rules Rules) (*Guest, error) {
	o := v.options
	o.Rules, o.Stop, o.Pause = rules, nil, nil
	g := &Guest{module: v.module, options: o, image: v.module.image}
	at := &v.undo.at
	blocks := maps.Clone(at.blocks)
	if at.packed != nil {
		var err error
		if blocks, err = at.packed.blocks(); err != nil {
			return nil, err
		}
	}

	space, err := v.module.engine.newSpace(g)
	if err != nil {
		return nil, err
	}
	g.space = space
	if !space.resize(at.size) {
		return nil, errors.Join(fmt.Errorf("no room for a memory of %d bytes", at.size), g.Close())
	}
	for b, blk := range blocks {
		copy(space.bytes()[uint64(b)*blockBytes:], blk[:])
	}
	g.regs.set(&at.regs)
	g.undo = undo{calls: v.undo.calls, since: v.undo.since, runs: v.undo.runs, stateless: v.undo.stateless}
	g.undo.at = mark{size: at.size, regs: at.regs.clone(), blocks: blocks, line: &line{written: make(map[uint32]uint32)}}
	if g.undo.calls == 0 {
		return g, nil
	}

	i, err := g.take()
	if err == nil {
		err = g.undo.replay(g, i)
		i.unlock()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("going on from a mark: %w", err), g.Close())
	}
	return g, nil
}
