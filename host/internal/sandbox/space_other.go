//go:build !linux

package sandbox

import "errors"

// mapping is what only Linux has.
type mapping struct{}

func newMapping() (*mapping, error) { return nil, errors.New("this system has no memory files") }

func (*mapping) close()                              {}
func (*mapping) most() int                           { return 0 }
func (*mapping) share(*Image) error                  { return errors.ErrUnsupported }
func (*mapping) space(*Image, uint64) (space, error) { return nil, errors.ErrUnsupported }

func closeFile(int) error { return nil }

func (*mapping) notes() bool { return false }
