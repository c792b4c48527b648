package server

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// readDocument reads openapi.json once.
var readDocument = sync.OnceValues(func() (doc object, err error) {
	err = json.Unmarshal(openAPI, &doc)
	return doc, err
})

// routes find the pattern of a request among those of the document.
var routes = sync.OnceValues(func() (*http.ServeMux, error) {
	doc, err := readDocument()
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	for path, methods := range dig(doc, "paths") {
		for method := range methods.(object) {
			mux.Handle(strings.ToUpper(method)+" "+path, http.NotFoundHandler())
		}
	}
	return mux, nil
})

// conforms holds an answer against what the document says of its operation. An answer to
// a path that the document does not have is a problem.
func conforms(asked *http.Request, status int, header http.Header, body []byte) error {
	doc, err := readDocument()
	if err != nil {
		return err
	}
	mux, err := routes()
	if err != nil {
		return err
	}
	_, pattern := mux.Handler(asked)
	kind, _, _ := strings.Cut(header.Get("Content-Type"), ";")
	method, path, _ := strings.Cut(pattern, " ")
	responses := dig(doc, "paths", path, strings.ToLower(method), "responses")
	if responses == nil {
		responses = object{"default": object{"$ref": "#/components/responses/Problem"}}
	}
	response, ok := responses[fmt.Sprint(status)].(object)
	if !ok {
		response, ok = responses["default"].(object)
	}
	if !ok {
		return fmt.Errorf("status %d is not in the document", status)
	}
	if response, err = deref(doc, response); err != nil {
		return err
	}

	content, _ := response["content"].(object) // nil: the answer has none
	if len(content) == 0 {
		if len(body) > 0 {
			return fmt.Errorf("%d bytes of %q, of which the document says nothing", len(body), kind)
		}
		return nil
	}
	media, ok := content[kind].(object)
	if !ok {
		return fmt.Errorf("%q is not in the document", kind)
	}
	schema, ok := media["schema"].(object)
	if !ok || kind == "text/plain" {
		return nil // bytes, or lines that are checked one by one
	}
	return holdsJSON(doc, schema, body)
}

// holds checks JSON against the schema of v's type.
func holds(v any, line string) error {
	doc, err := readDocument()
	if err != nil {
		return err
	}
	name := strings.TrimPrefix(fmt.Sprintf("%T", v), "api.")
	return holdsJSON(doc, object{"$ref": "#/components/schemas/" + name}, []byte(line))
}

func holdsJSON(doc, schema object, body []byte) error {
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		return err
	}
	return holdsValue(doc, schema, v, "")
}

// holdsValue checks a value against a schema, of which at says where it is. It knows the
// words that the document is made of, and fails on others: scripts/checks holds the
// document and a node's answers against a validator of all of JSON Schema.
func holdsValue(doc, schema object, v any, at string) error {
	schema, err := deref(doc, schema)
	if err != nil {
		return err
	}
	fail := func(format string, args ...any) error {
		return fmt.Errorf("at %q: %s", at, fmt.Sprintf(format, args...))
	}
	for word, said := range schema {
		switch word {
		case "description":
		case "type":
			if !isOf(v, said) {
				return fail("%v is not of type %v", v, said)
			}
		case "minimum":
			if n, ok := v.(float64); ok && n < said.(float64) {
				return fail("%v is less than %v", n, said)
			}
		case "minItems", "maxItems":
			n := float64(len(asList(v)))
			if v != nil && (word == "minItems" && n < said.(float64) || word == "maxItems" && n > said.(float64)) {
				return fail("%v items, %s is %v", n, word, said)
			}
		case "format":
			if text, ok := v.(string); ok {
				if _, err := time.Parse(time.RFC3339Nano, text); said != "date-time" || err != nil {
					return fail("%q is no %v", text, said)
				}
			}
		case "contentEncoding":
			if text, ok := v.(string); ok {
				if _, err := base64.StdEncoding.DecodeString(text); said != "base64" || err != nil {
					return fail("%q is no %v", text, said)
				}
			}
		case "items":
			for i, item := range asList(v) {
				if err := holdsValue(doc, said.(object), item, fmt.Sprint(at, "/", i)); err != nil {
					return err
				}
			}
		case "required":
			fields, ok := v.(object)
			for _, name := range said.([]any) {
				if _, has := fields[name.(string)]; ok && !has {
					return fail("%v is missing", name)
				}
			}
		case "properties", "additionalProperties":
			if err := holdsFields(doc, schema, v, at); err != nil {
				return err
			}
		default:
			return fail("the schema's word %q is not known here", word)
		}
	}
	return nil
}

// holdsFields checks each field of an object against the schema of its name, or that of
// all others.
func holdsFields(doc, schema object, v any, at string) error {
	fields, _ := v.(object) // nil: its type is checked
	for name, field := range fields {
		of, ok := dig(schema, "properties")[name].(object)
		if !ok {
			of, ok = schema["additionalProperties"].(object)
		}
		if !ok {
			return fmt.Errorf("at %q: the field %q is not in the document", at, name)
		}
		if err := holdsValue(doc, of, field, at+"/"+name); err != nil {
			return err
		}
	}
	return nil
}

// deref follows a schema's reference within the document.
func deref(doc, schema object) (object, error) {
	ref, ok := schema["$ref"].(string)
	if !ok {
		return schema, nil
	}
	to := dig(doc, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
	if to == nil {
		return nil, fmt.Errorf("%s leads nowhere", ref)
	}
	return to, nil
}

// dig returns the object at a path; nil where there is none.
func dig(in object, path ...string) object {
	for _, name := range path {
		in, _ = in[name].(object)
	}
	return in
}

func asList(v any) []any {
	list, _ := v.([]any)
	return list
}

// isOf reports whether a value is of a type, or of one of several.
func isOf(v any, kind any) bool {
	if kinds, ok := kind.([]any); ok {
		for _, k := range kinds {
			if isOf(v, k) {
				return true
			}
		}
		return false
	}
	switch x := v.(type) {
	case nil:
		return kind == "null"
	case bool:
		return kind == "boolean"
	case string:
		return kind == "string"
	case float64:
		return kind == "number" || kind == "integer" && x == math.Trunc(x)
	case []any:
		return kind == "array"
	}
	return kind == "object"
}

// What is not as the document says is found.
func TestConforms(t *testing.T) {
	doc := object{"components": object{"schemas": object{"Thing": object{
		"type": "object", "additionalProperties": false, "required": []any{"name"},
		"properties": object{"name": object{"type": "string"}, "count": object{"type": "integer", "minimum": 0.0}, "when": object{"type": "string", "format": "date-time"},
			"bytes": object{"type": "string", "contentEncoding": "base64"}, "pair": object{"type": []any{"array", "null"}, "items": object{"type": "number"}, "minItems": 2.0, "maxItems": 2.0},
			"tags": object{"type": "object", "additionalProperties": object{"type": "boolean"}}}}}}}
	thing := object{"$ref": "#/components/schemas/Thing"}
	for body, want := range map[string]bool{
		`{"name":"a","count":1,"when":"2026-01-02T03:04:05.6Z","bytes":"AQI=","pair":[1,2.5],"tags":{"x":true}}`: true,
		`{"name":"a","pair":null}`:    true,
		`{}`:                          false,
		`{"name":1}`:                  false,
		`{"name":"a","other":1}`:      false,
		`{"name":"a","count":-1}`:     false,
		`{"name":"a","count":1.5}`:    false,
		`{"name":"a","when":"today"}`: false,
		`{"name":"a","bytes":"?"}`:    false,
		`{"name":"a","pair":[1]}`:     false,
		`{"name":"a","pair":[1,2,3]}`: false,
		`{"name":"a","pair":[1,"2"]}`: false,
		`{"name":"a","tags":{"x":1}}`: false,
		`{"name":"a","tags":null}`:    false,
		`["name"]`:                    false,
		`{"name":"a"`:                 false,
	} {
		if err := holdsJSON(doc, thing, []byte(body)); (err == nil) != want {
			t.Errorf("%s: %v, want it held: %v", body, err, want)
		}
	}
	for _, schema := range []object{{"oneOf": []any{}}, {"$ref": "#/components/schemas/None"}} {
		if err := holdsJSON(doc, schema, []byte("1")); err == nil {
			t.Errorf("%v holds", schema)
		}
	}
}
