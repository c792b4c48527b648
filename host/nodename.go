package host

import (
	"fmt"
	"strings"

	"wasmhost.example/host/daemon"
)

// MaxNodeName is the length of the longest node name, in bytes: that of the longest
// host name.
const MaxNodeName = 255

// ValidNodeName returns nil if s can name a node: 1 to MaxNodeName characters of
// a-z A-Z 0-9 - _ . beginning with a letter or digit, which is neither the word all,
// that commands take for every node, nor has the form of a node's or entity's id (16
// or 64 hexadecimal digits). Errors wrap ErrBadName. A node may also have no name; s
// is then not to be checked.
func ValidNodeName(s string) error {
	if len(s) == 0 || len(s) > MaxNodeName {
		return fmt.Errorf("%w: a node's name has 1 to %d characters, not %d", daemon.ErrBadName, MaxNodeName, len(s))
	}

	for i, c := range []byte(s) {
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || c != '-' && c != '_' && c != '.') {
			return fmt.Errorf("%w: %q; a node's name is letters, digits, - _ . and begins with a letter or digit", daemon.ErrBadName, s)
		}
	}

	if strings.EqualFold(s, "all") {
		return fmt.Errorf("%w: %q means every node", daemon.ErrBadName, s)
	}
	if daemon.LooksLikeID(s) {
		return fmt.Errorf("%w: %q has the form of an id", daemon.ErrBadName, s)
	}
	return nil
}
