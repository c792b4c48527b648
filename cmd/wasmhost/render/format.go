// Package render prints the JSON answers of the command line in other formats, and picks
// and sorts the rows of lists.
package render

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/template"

	"k8s.io/client-go/util/jsonpath"
	"sigs.k8s.io/yaml"
)

// ErrFormat says that a format is none, or has a mistake in its expression.
var ErrFormat = errors.New("not a format")

// Names are the formats that Parse reads, for help texts.
const Names = "yaml, jsonpath=EXPR and go-template=TEMPLATE"

// Format writes values.
type Format struct {
	write func(w io.Writer, raw []byte) error
	split string // between two values
}

// Parse reads a format: "yaml", "jsonpath=EXPR" as kubectl has it, or
// "go-template=TEMPLATE" of text/template. ErrFormat.
func Parse(text string) (Format, error) {
	name, expr, given := strings.Cut(text, "=")
	switch {
	case text == "yaml":
		return Format{writeYAML, "---\n"}, nil
	case name == "jsonpath" && given:
		return jsonPath(expr)
	case name == "go-template" && given:
		return goTemplate(expr)
	case name == "jsonpath" || name == "go-template":
		return Format{}, fmt.Errorf("%w: %s needs an expression: -o %s=…", ErrFormat, name, name)
	}

	return Format{}, fmt.Errorf("%w: %q", ErrFormat, text)
}

func writeYAML(w io.Writer, raw []byte) error {
	out, err := yaml.JSONToYAML(raw)
	if err != nil {
		return fmt.Errorf("writing YAML: %w", err)
	}
	_, err = w.Write(out)
	return err
}

func jsonPath(expr string) (Format, error) {
	if strings.HasPrefix(expr, ".") || strings.HasPrefix(expr, "[") || strings.HasPrefix(expr, "$") {
		expr = "{" + expr + "}"
	}

	if strings.TrimSpace(expr) == "" {
		return Format{}, fmt.Errorf("%w: jsonpath has an empty expression", ErrFormat)
	}

	read := func() (*jsonpath.JSONPath, error) {
		path := jsonpath.New("out").AllowMissingKeys(true)
		return path, path.Parse(expr)
	}
	if _, err := read(); err != nil {
		return Format{}, fmt.Errorf("%w: jsonpath %q: %w", ErrFormat, expr, err)
	}

	return onValues(func(w io.Writer, v any) error {
		path, err := read() // one remembers how far it came, and is good for one value
		if err != nil {
			return err
		}
		return path.Execute(w, v)
	}), nil
}

func goTemplate(text string) (Format, error) {
	if strings.TrimSpace(text) == "" {
		return Format{}, fmt.Errorf("%w: go-template has an empty template", ErrFormat)
	}

	t, err := template.New("out").Funcs(template.FuncMap{
		"join": strings.Join, "json": toJSON, "lower": strings.ToLower, "upper": strings.ToUpper,
		"base64decode": func(s string) (string, error) {
			b, err := base64.StdEncoding.DecodeString(s)
			return string(b), err
		},
	}).Parse(text)
	if err != nil {
		return Format{}, fmt.Errorf("%w: %w", ErrFormat, err)
	}

	return onValues(t.Execute), nil
}

func toJSON(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}

// onValues is the format that execute writes of a value; of a list, as kubectl does, of
// an object whose items they are.
func onValues(execute func(io.Writer, any) error) Format {
	return Format{func(w io.Writer, raw []byte) error {
		v, err := decode(raw)
		if err != nil {
			return err
		}
		if list, ok := v.([]any); ok {
			v = map[string]any{"items": list}
		}

		if err := execute(w, v); err != nil {
			return fmt.Errorf("-o: %w", err)
		}
		return nil
	}, ""}
}
