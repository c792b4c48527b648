package cli

import (
	"errors"

	"github.com/spf13/cobra"
)

// ErrEnough ends following after as many events as --count asked for.
var ErrEnough = errors.New("enough events were printed")

// UntilInterrupted makes an interrupt the ordinary end of following.
func UntilInterrupted(c *cobra.Command, err error) error {
	if c.Context().Err() != nil {
		return nil
	}
	return err
}
