package apply

import (
	"fmt"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
	"go.yaml.in/yaml/v3"
)

// node is a value in a file: a map[string]*node, a []*node, a string, an int64 or a bool.
type node struct {
	value any
	line  int
}

// parseYAML reads one document. Aliases are refused: a few lines of them say very much.
func parseYAML(text []byte) (*node, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	if len(doc.Content) == 0 {
		return &node{value: map[string]*node{}}, nil
	}
	return fromYAML(doc.Content[0], 0)
}

func fromYAML(y *yaml.Node, depth int) (*node, error) {
	n := &node{line: y.Line}
	if depth > maxDepth {
		return nil, fmt.Errorf("line %d: deeper than %d levels", y.Line, maxDepth)
	}
	switch y.Kind {
	case yaml.MappingNode:
		table := make(map[string]*node)
		for i := 0; i+1 < len(y.Content); i += 2 {
			key := y.Content[i]
			if key.Kind != yaml.ScalarNode || key.Tag == "!!merge" {
				return nil, fmt.Errorf("line %d: a key is a text", key.Line)
			}
			if table[key.Value] != nil {
				return nil, fmt.Errorf("line %d: %q stands twice", key.Line, key.Value)
			}
			v, err := fromYAML(y.Content[i+1], depth+1)
			if err != nil {
				return nil, err
			}
			v.line = key.Line
			table[key.Value] = v
		}
		n.value = table
	case yaml.SequenceNode:
		list := []*node{}
		for _, item := range y.Content {
			v, err := fromYAML(item, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		n.value = list
	case yaml.ScalarNode:
		return n, scalar(n, y)
	default:
		return nil, fmt.Errorf("line %d: aliases are not read", y.Line)
	}
	return n, nil
}

func scalar(n *node, y *yaml.Node) error {
	switch y.Tag {
	case "!!str":
		n.value = y.Value
	case "!!int":
		var v int64
		err := y.Decode(&v)
		n.value = v
		return err
	case "!!bool":
		var v bool
		err := y.Decode(&v)
		n.value = v
		return err
	default:
		return fmt.Errorf("line %d: %q is neither text, a whole number, nor true or false", y.Line, y.Value)
	}
	return nil
}

// parseTOML reads a TOML file.
func parseTOML(text []byte) (*node, error) {
	var raw map[string]any
	if _, err := toml.Decode(string(text), &raw); err != nil {
		return nil, err
	}
	return fromTOML(raw, "", linesOf(string(text)), 0, 0)
}

// fromTOML makes the tree of a value, whose path is known in lines or not.
func fromTOML(raw any, path string, lines map[string]int, parent, depth int) (*node, error) {
	n := &node{line: parent}
	if line, ok := lines[path]; ok {
		n.line = line
	} else if line, ok := lines[path+"[0]"]; ok { // of a list of tables, the first
		n.line = line
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("line %d: deeper than %d levels", n.line, maxDepth)
	}
	switch v := raw.(type) {
	case map[string]any:
		table := make(map[string]*node)
		for key, of := range v {
			sub, err := fromTOML(of, join(path, key), lines, n.line, depth+1)
			if err != nil {
				return nil, err
			}
			table[key] = sub
		}
		n.value = table
	case []map[string]any:
		list := []*node{}
		for i, of := range v {
			sub, err := fromTOML(of, fmt.Sprintf("%s[%d]", path, i), lines, n.line, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, sub)
		}
		n.value = list
	case []any:
		list := []*node{}
		for i, of := range v {
			sub, err := fromTOML(of, fmt.Sprintf("%s[%d]", path, i), lines, n.line, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, sub)
		}
		n.value = list
	case string, int64, bool:
		n.value = v
	case float64, time.Time:
		return nil, fmt.Errorf("line %d: %v is neither text, a whole number, nor true or false", n.line, v)
	default:
		return nil, fmt.Errorf("line %d: a %T cannot be here", n.line, v)
	}
	return n, nil
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// linesOf finds on which lines of a TOML file tables begin and keys stand, by their paths.
// What stands in a table of one line has that line: it is not in the map.
func linesOf(text string) map[string]int {
	lines, count, current, quote := make(map[string]int), make(map[string]int), "", ""
	for i, line := range strings.Split(text, "\n") {
		if quote != "" { // in a text of several lines
			if strings.Count(line, quote)%2 == 1 {
				quote = ""
			}
			continue
		}
		for _, q := range []string{`"""`, `'''`} {
			if strings.Count(line, q)%2 == 1 {
				quote = q
			}
		}
		bare := strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(bare, "[["); ok {
			name, _, _ = strings.Cut(name, "]]")
			name = strings.TrimSpace(name)
			current = fmt.Sprintf("%s[%d]", name, count[name])
			count[name]++
			lines[current] = i + 1
			continue
		}
		if name, ok := strings.CutPrefix(bare, "["); ok && !strings.Contains(bare, "=") {
			name, _, _ = strings.Cut(name, "]")
			first, rest, sub := strings.Cut(strings.TrimSpace(name), ".")
			if n := count[first]; n > 0 {
				first = fmt.Sprintf("%s[%d]", first, n-1)
			}
			if current = first; sub {
				current = join(first, rest)
			}
			lines[current] = i + 1
			continue
		}
		key, _, ok := strings.Cut(bare, "=")
		if !ok || strings.HasPrefix(bare, "#") {
			continue
		}
		path := join(current, strings.Trim(strings.TrimSpace(key), `"'`))
		if _, there := lines[path]; !there {
			lines[path] = i + 1
		}
	}
	return lines
}
