package identity

import (
	"errors"
	"fmt"
	"strings"
)

// MaxChannelName is the length of the longest channel name, in bytes.
const MaxChannelName = 255

// ErrBadChannel is wrapped by the error of a text that is no channel name.
var ErrBadChannel = errors.New("not a channel name")

// ValidChannel returns nil for a channel's name: segments of a-z, 0-9, -, _ and
// . with / between them, none of them empty, "." or "..", at most
// MaxChannelName bytes in all. Errors wrap ErrBadChannel.
func ValidChannel(name string) error {
	if len(name) > MaxChannelName {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrBadChannel, len(name), MaxChannelName)
	}

	for i := 0; i < len(name); i++ {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' && c != '/' {
			return fmt.Errorf("%w: %q: names are of a-z, 0-9, - _ . and /", ErrBadChannel, name)
		}
	}

	for segment := range strings.SplitSeq(name, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return fmt.Errorf("%w: %q has a segment %q", ErrBadChannel, name, segment)
		}
	}
	return nil
}

// ChannelWithin reports whether name is the channel above, or one beneath it:
// "a/b" and "a/b/c" are within "a/b", "a/bc" is not. Everything is within "".
func ChannelWithin(name, above string) bool {
	return above == "" || name == above || strings.HasPrefix(name, above) && name[len(above)] == '/'
}
