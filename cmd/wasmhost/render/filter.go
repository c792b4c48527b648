package render

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// ErrFilter says that a filter, or what is sorted by, cannot be understood.
var ErrFilter = errors.New("not a filter")

// Filter is what a row must meet.
type Filter struct {
	path  []string
	op    string
	texts []string // of which one must be met
	globs []*regexp.Regexp
}

var filterText = regexp.MustCompile(`^\s*([A-Za-z_][A-Za-z0-9_-]*(?:\.[^.=!<>,\s]+)*)\s*(==|!=|>=|<=|=|>|<)(.*)$`)

// ParseFilters reads texts of conditions FIELD=VALUE with commas between; all must hold.
// FIELD is a field of the JSON answer, with dots for those within; the operators are
// = (or ==), !=, <, <=, > and >=; * in a VALUE of = and != stands for any text, and |
// separates values of which one does. ErrFilter.
func ParseFilters(texts []string) ([]Filter, error) {
	var all []Filter
	for _, text := range texts {
		for _, one := range strings.Split(text, ",") {
			f, err := parseFilter(one)
			if err != nil {
				return nil, err
			}
			all = append(all, f)
		}
	}

	return all, nil
}

func parseFilter(text string) (Filter, error) {
	m := filterText.FindStringSubmatch(text)
	if m == nil {
		return Filter{}, fmt.Errorf("%w: %q is not FIELD=VALUE", ErrFilter, text)
	}

	f := Filter{path: strings.Split(m[1], "."), op: m[2], texts: strings.Split(m[3], "|")}
	if f.op == "==" {
		f.op = "="
	}

	if f.op != "=" && f.op != "!=" {
		if len(f.texts) > 1 || strings.TrimSpace(m[3]) == "" {
			return Filter{}, fmt.Errorf("%w: %q: %s takes one value", ErrFilter, text, f.op)
		}
		return f, nil
	}

	for _, t := range f.texts {
		parts := strings.Split(t, "*")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}

		glob, err := regexp.Compile(`(?s)^` + strings.Join(parts, ".*") + `$`)
		if err != nil {
			return Filter{}, fmt.Errorf("%w: %q: %w", ErrFilter, text, err)
		}

		f.globs = append(f.globs, glob)
	}

	return f, nil
}

// Field is the field that the filter is about, the outermost.
func (f Filter) Field() string { return f.path[0] }

// Meets reports whether a row meets the filter: with = and the comparisons where one of
// the values of its field does, with != where none equals.
func (f Filter) Meets(row map[string]any) bool {
	values := at(row, f.path)
	if f.op == "!=" {
		return !slices.ContainsFunc(values, f.equals)
	}
	if f.op == "=" {
		return slices.ContainsFunc(values, f.equals) || len(values) == 0 && slices.Contains(f.texts, "")
	}

	return slices.ContainsFunc(values, func(v any) bool {
		c := compareText(text(v), f.texts[0])
		switch f.op {
		case "<":
			return c < 0
		case "<=":
			return c <= 0
		case ">":
			return c > 0
		}

		return c >= 0
	})
}

func (f Filter) equals(v any) bool {
	t := text(v)
	return slices.ContainsFunc(f.globs, func(g *regexp.Regexp) bool { return g.MatchString(t) })
}

func text(v any) string {
	switch x := v.(type) {
	case string:
		return x
	case map[string]any:
		return "" // it has fields, and no text
	}
	return fmt.Sprint(v)
}

// Order is what rows are sorted by.
type Order struct {
	path []string
	down bool
}

var orderText = regexp.MustCompile(`^-?[A-Za-z_][A-Za-z0-9_-]*(\.[^.\s]+)*$`)

// ParseOrder reads a field to sort by, as ParseFilters reads it, or as kubectl's
// --sort-by takes it: .sequence or {.sequence}. After - the largest is first. ErrFilter.
func ParseOrder(text string) (Order, error) {
	t := strings.TrimSuffix(strings.TrimPrefix(text, "{"), "}")
	t = strings.TrimPrefix(t, ".")
	if !orderText.MatchString(t) {
		return Order{}, fmt.Errorf("%w: %q is no field to sort by", ErrFilter, text)
	}
	name, down := strings.CutPrefix(t, "-")
	return Order{strings.Split(name, "."), down}, nil
}

// Field is the field that is sorted by, the outermost.
func (o Order) Field() string { return o.path[0] }

// Compare compares two rows: numbers as such, texts with the numbers in them as such.
// A row without a value is last.
func (o Order) Compare(a, b map[string]any) int {
	x, y := at(a, o.path), at(b, o.path)
	if len(x) == 0 || len(y) == 0 {
		return cmp.Compare(len(y), len(x))
	}

	c := compareText(text(x[0]), text(y[0]))
	if o.down {
		return -c
	}
	return c
}

// compareText compares texts, the runs of digits within them as numbers.
func compareText(a, b string) int {
	if isNumber(a) && isNumber(b) {
		return compareNumbers(a, b)
	}

	for a != "" && b != "" {
		m, n := digits(a), digits(b)
		if m > 0 && n > 0 {
			if c := compareDigits(a[:m], b[:n]); c != 0 {
				return c
			}
			a, b = a[m:], b[n:]
			continue
		}

		if c := cmp.Compare(a[0], b[0]); c != 0 {
			return c
		}

		a, b = a[1:], b[1:]
	}

	return cmp.Compare(len(a), len(b))
}
