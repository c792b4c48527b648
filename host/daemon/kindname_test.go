package daemon

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

func TestKindNames(t *testing.T) {
	for _, s := range []string{
		"a", "7", "counter", "Counter.v2", "shop/orders", "shop::orders", "acme/shop::orders.v2", "größe", "数える", "сч/ёт", "हिन्दी",
		"a-", "a_b.", strings.Repeat("a", MaxKindName), strings.Repeat("é", MaxKindName/2),
	} {
		if err := ValidKind(s); err != nil {
			t.Errorf("%q: %v, want that it is a name", s, err)
		}
	}

	for why, s := range map[string]string{
		"empty": "", "too long": strings.Repeat("a", MaxKindName+1), "too long in bytes": strings.Repeat("é", MaxKindName/2+1),
		"leading slash": "/a", "trailing slash": "a/", "double slash": "a//b", "leading colons": "::a", "trailing colons": "a::",
		"one colon": "a:b", "three colons": "a:::b", "four colons": "a::::b", "both separators": "a/::b", "a drive": "c:/x",
		"parent": "..", "parent inside": "a/../b", "this": "./a", "hidden": "a/.b", "dash first": "-a", "dash first inside": "a/-b",
		"space": "a b", "tab": "a\tb", "newline": "a\nb", "NUL": "a\x00", "DEL": "a\x7f", "C1": "a\u0085b", "no UTF-8": "a\xff",
		"backslash": `a\b`, "percent": "a%2Fb", "query": "a?b", "fragment": "a#b", "quote": `a"b`, "star": "a*", "braces": "{a}", "comma": "a,b", "equals": "a=b",
		"zero width joiner": "a\u200db", "right to left override": "a\u202eb", "byte order mark": "\ufeffa", "soft hyphen": "a\u00adb", "tag": "a\U000e0041",
		"variation selector": "a\ufe0f", "grapheme joiner": "a\u034fb", "Hangul filler": "\u3164", "no-break space": "a\u00a0b",
		"not normal": "gro\u0308\u00dfe", "a sign that normal form replaces": "\u212b", "mark first": "\u0301a", "mark first inside": "a/\u0301",
		"superscript": "a²", "Roman numeral": "\u2167", "emoji": "🦀", "slash alike": "a\u2215b", "replacement character": "a\ufffd",
	} {
		if err := ValidKind(s); !errors.Is(err, ErrBadName) {
			t.Errorf("%s: %q: %v, want ErrBadName", why, s, err)
		}
	}
}

// A daemon that nobody named has a name of its kind that is one.
func TestNameStem(t *testing.T) {
	for kind, want := range map[string]string{
		"": "daemon", "counter": "counter", "a-": "a-", "a_b.c": "a_b.c", "shop/orders::v2": "shop-orders-v2", "größe": "gr-e", "größe/数": "gr-e", "数える": "daemon",
		"é/x": "x", strings.Repeat("ab", 40): strings.Repeat("ab", 20), strings.Repeat("a", 39) + "/b": strings.Repeat("a", 39) + "-",
	} {
		got := NameStem(kind)
		if got != want {
			t.Errorf("%q: %q, want %q", kind, got, want)
		}
		if err := ValidDaemonName(got + "-0123456789abcdef"); err != nil {
			t.Errorf("%q: %v", kind, err)
		}
	}
}

// What can name a kind has no part that a file system, a URL or a shell takes for
// something else, and is what any reader of Unicode makes of it.
func FuzzKindName(f *testing.F) {
	for _, s := range []string{"a", "shop/orders", "shop::orders", "größe", "a/../b", "a\u200db", "a::", "gro\u0308\u00dfe", "\u3164"} {
		f.Add(s)
	}

	f.Fuzz(func(t *testing.T, s string) {
		if ValidKind(s) != nil {
			if ValidName(s) == nil {
				t.Fatalf("%q was a name of a kind before, and is none any more", s)
			}
			return
		}

		if len(s) > MaxKindName || !utf8.ValidString(s) || norm.NFC.String(s) != s {
			t.Fatalf("%q: %d bytes, UTF-8 %v, normal %q", s, len(s), utf8.ValidString(s), norm.NFC.String(s))
		}
		for _, part := range strings.Split("/"+s+"/", "/")[1:] {
			if part == "." || part == ".." || strings.ContainsAny(part, "\\%?#*\"'`$&|;<>(){}[]!~ \t\r\n\x00") {
				t.Fatalf("%q has the part %q", s, part)
			}
		}
		if strings.HasPrefix(s, "/") || strings.HasSuffix(s, "/") || strings.Contains(s, "//") {
			t.Fatalf("%q is a path", s)
		}
	})
}
