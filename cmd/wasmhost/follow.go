package main

import (
	"errors"

	"github.com/spf13/cobra"
)

var errEnough = errors.New("enough events were printed")

// untilInterrupted makes an interrupt the ordinary end of following.
func untilInterrupted(c *cobra.Command, err error) error {
	if c.Context().Err() != nil {
		return nil
	}
	return err
}
