package sandbox

// Limit gives the guest other limits, from its next call on. Its memory must not be larger
// than they let it be. After an error the guest is of no more use: ErrBroken.
func (g *Guest) Limit(l Limits) error {
	release, err := g.hold()
	if err != nil {
		return err
	}
	err = g.catchUp() // what was done under the limits before is not done again under these
	before := g.limit()
	g.options.Limits = l
	grows := g.limit() > before
	release()
	if err != nil {
		return err
	}

	if grows {
		g.Pack() // its next call has a memory with more room
	}
	return nil
}
