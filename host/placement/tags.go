package placement

import (
	"errors"
	"fmt"
	"strings"
)

// Bounds on tags, which peers send.
const (
	MaxTags = 64  // tags of a node
	MaxTag  = 255 // bytes of a tag's key or value
)

// ErrBadTag says that a text is no tag.
var ErrBadTag = errors.New("a tag is KEY=VALUE")

// ParseTags reads tags written KEY=VALUE. A key is letters, digits, and - _ . /,
// a value any text without control characters or commas. No key may stand twice.
// Errors wrap ErrBadTag.
func ParseTags(texts []string) (map[string]string, error) {
	if len(texts) == 0 {
		return nil, nil
	}

	out := make(map[string]string, len(texts))
	for _, t := range texts {
		k, v, ok := strings.Cut(t, "=")
		if !ok {
			return nil, fmt.Errorf("%w: %q has no =", ErrBadTag, t)
		}
		if _, twice := out[k]; twice {
			return nil, fmt.Errorf("%w: %s stands twice", ErrBadTag, k)
		}

		out[k] = v
	}

	return out, CheckTags(out)
}

// CheckTags returns nil when tags are such as ParseTags returns.
func CheckTags(tags map[string]string) error {
	if len(tags) > MaxTags {
		return fmt.Errorf("%w: %d tags, at most %d", ErrBadTag, len(tags), MaxTags)
	}

	for k, v := range tags {
		switch {
		case k == "" || strings.TrimFunc(k, inKey) != "":
			return fmt.Errorf("%w: %q is no key", ErrBadTag, k)
		case len(k) > MaxTag || len(v) > MaxTag:
			return fmt.Errorf("%w: %.20s… has more than %d bytes", ErrBadTag, k, MaxTag)
		case strings.ContainsFunc(v, notInValue):
			return fmt.Errorf("%w: the value of %s has a comma or a control character", ErrBadTag, k)
		}
	}

	return nil
}

func inKey(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-_./", c)
}

func notInValue(c rune) bool { return c < ' ' || c == 0x7f || c == ',' || c == '\ufffd' }
