package server

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/server/internal/access"
	"wasmhost.example/api/server/internal/query"
	"wasmhost.example/api/server/internal/web"
)

var update = flag.Bool("update", false, "write openapi.json")

// The document is what the operations and their types make. That it is valid OpenAPI 3.1
// is checked by scripts/checks.
func TestOpenAPIDocumentIsOfTheRoutes(t *testing.T) {
	want := document(t)
	if *update {
		if err := os.WriteFile("openapi.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
		openAPI = want
	}
	if !bytes.Equal(openAPI, want) {
		t.Error("openapi.json is not of the operations: go test ./api/server -run OpenAPI -update")
	}
}

// Every route has an operation and every operation a route, with a right for
// peers that is no smaller than what a token needs.
func TestEveryRouteIsDocumented(t *testing.T) {
	s := serve(t, "a")
	for pattern, op := range operations {
		method, path, _ := strings.Cut(pattern, " ")
		r, err := requestOf(method, regexp.MustCompile(`{\w+}`).ReplaceAllString(path, "x"))
		if err != nil {
			t.Fatal(err)
		}
		if _, got := s.server.mux.Handler(r); got != pattern {
			t.Errorf("%s is answered by %q", pattern, got)
		}
		if op.Summary == "" || strings.Count(op.Bytes, "/") > 1 {
			t.Errorf("%s: %+v", pattern, op)
		}
	}
	for _, pattern := range s.server.patterns {
		if _, ok := operations[pattern]; !ok {
			t.Errorf("%s is not among the operations", pattern)
		}
	}
}

type object = map[string]any

// document makes the OpenAPI document.
func document(t *testing.T) []byte {
	t.Helper()
	s := &schemas{made: object{}, comments: comments(t)}
	problem := object{"description": "What went wrong: its code is stable.", "content": object{"application/problem+json": object{"schema": s.of(reflect.TypeFor[api.Problem]())}}}
	s.of(reflect.TypeFor[api.Plan]()) // which dry runs answer
	paths := object{}
	for _, pattern := range slices.Sorted(maps.Keys(operations)) {
		op := operations[pattern]
		method, path, _ := strings.Cut(pattern, " ")
		at, ok := paths[path].(object)
		if !ok {
			at = object{}
			paths[path] = at
		}
		at[strings.ToLower(method)] = s.operation(pattern, method, path, op)
	}
	text := func(what string, more object) object {
		ok := object{"description": what, "content": object{"text/plain": object{"schema": object{"type": "string"}}}}
		out := object{"summary": what, "operationId": strings.ReplaceAll(strings.Trim(strings.ToLower(strings.Fields(what)[0]), "."), "/", ""), "security": []any{}, "responses": object{"200": ok}}
		maps.Copy(out["responses"].(object), more)
		return object{"get": out}
	}
	paths["/healthz"] = text("Healthy: the process answers.", nil)
	paths["/readyz"] = text("Ready: the node takes events.", object{"503": object{"$ref": "#/components/responses/Problem"}})
	paths["/metrics"] = text("Metrics for Prometheus.", nil)
	delete(paths["/metrics"].(object)["get"].(object), "security")
	doc := object{
		"openapi": "3.1.0",
		"info": object{"title": "wasmhost control API", "version": "1", "license": object{"name": "Apache-2.0", "identifier": "Apache-2.0"},
			"description": "How a node is operated. Over the node's unix socket a caller is the node's owner; over TCP it names itself by a token. " +
				"Errors are problems (RFC 9457) with stable codes. Answers that are streams are JSON lines, or server-sent events where the request accepts text/event-stream."},
		"servers":  []any{object{"url": "/", "description": "The node's unix socket, or the address of serve --api."}},
		"security": []any{object{}, object{"token": []any{}}},
		"paths":    paths,
		"components": object{"schemas": s.made, "responses": object{"Problem": problem},
			"securitySchemes": object{"token": object{"type": "http", "scheme": "bearer", "description": "An API token: wasmhost api token issue. Not needed on the unix socket."}},
			"parameters": object{"IdempotencyKey": object{"name": api.IdempotencyHeader, "in": "header", "required": false, "schema": object{"type": "string", "maxLength": access.MaxKey},
				"description": "The same request under the same key is answered as before, and changes nothing again. Kept for a day, in memory."}}},
	}
	b, err := json.MarshalIndent(doc, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}

func (s *schemas) operation(pattern, method, path string, op access.Operation) object {
	scope := op.Scope
	if scope == 0 {
		scope = api.ScopeOwner
	}
	out := object{"summary": op.Summary, "operationId": operationID(method, path), "x-scope": scope.String()}
	params := []any{}
	for _, m := range regexp.MustCompile(`{(\w+)}`).FindAllStringSubmatch(path, -1) {
		params = append(params, object{"name": m[1], "in": "path", "required": true, "schema": object{"type": "string"}})
	}
	for _, p := range op.Query {
		schema := object{"type": p.Is}
		if p.Many {
			schema = object{"type": "array", "items": schema}
		}
		params = append(params, object{"name": p.Name, "in": "query", "description": p.What, "schema": schema})
	}
	if web.Changes(method) && !op.Event {
		params = append(params, object{"$ref": "#/components/parameters/IdempotencyKey"})
	}
	if len(params) > 0 {
		out["parameters"] = params
	}
	switch {
	case op.Body != nil:
		out["requestBody"] = object{"required": true, "content": object{"application/json": object{"schema": s.of(reflect.TypeOf(op.Body))}}}
	case op.Bytes != "":
		out["requestBody"] = object{"required": true, "content": object{op.Bytes: object{}}}
	}
	content := object{}
	if op.Answer != nil {
		content["application/json"] = object{"schema": s.of(reflect.TypeOf(op.Answer))}
	}
	if op.Lines != nil {
		line := s.of(reflect.TypeOf(op.Lines))
		content["application/jsonl"] = object{"x-line": line}
		list := op.Answer != nil && reflect.TypeOf(op.Answer) == reflect.SliceOf(reflect.TypeOf(op.Lines)) // it ends, and is no stream of events
		if !op.Event && !list {
			content["text/event-stream"] = object{"x-line": line}
		}
	}
	if op.Binary != "" {
		content[op.Binary] = object{}
	}
	ok := object{"description": "Done."}
	status := "200"
	if len(content) > 0 {
		ok["content"] = content
	} else {
		status = "204"
	}
	if slices.ContainsFunc(op.Query, func(p query.Parameter) bool { return p.Name == "limit" && p.Is == "integer" }) {
		ok["headers"] = object{"Link": object{"description": `The next page, as rel="next".`, "schema": object{"type": "string"}}}
	}
	out["responses"] = object{status: ok, "default": object{"$ref": "#/components/responses/Problem"}}
	return out
}

func operationID(method, path string) string {
	id := strings.ToLower(method)
	for _, part := range strings.FieldsFunc(strings.TrimPrefix(path, "/v1"), func(r rune) bool { return strings.ContainsRune("/{}.-", r) }) {
		id += strings.ToUpper(part[:1]) + part[1:]
	}
	return id
}

// schemas makes JSON Schemas of Go types as encoding/json writes them. Nothing
// but what a type has is allowed, so that an answer which says more than the
// document fails its tests.
type schemas struct {
	made     object
	comments map[string]string // by type and field
}

func (s *schemas) of(t reflect.Type) object {
	switch t {
	case reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case reflect.TypeFor[[]byte]():
		return object{"type": "string", "contentEncoding": "base64"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.of(t.Elem())
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Float64, reflect.Float32:
		return object{"type": "number"}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return object{"type": "integer", "minimum": 0}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return object{"type": "integer"}
	case reflect.Slice:
		return object{"type": "array", "items": s.of(t.Elem())}
	case reflect.Array:
		return object{"type": "array", "items": s.of(t.Elem()), "minItems": t.Len(), "maxItems": t.Len()}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.Struct:
	default:
		panic(fmt.Sprint("a type that has no schema: ", t))
	}
	ref := object{"$ref": "#/components/schemas/" + t.Name()}
	if _, ok := s.made[t.Name()]; ok {
		return ref
	}
	schema := object{"type": "object", "additionalProperties": false}
	s.made[t.Name()] = schema
	if c := s.comments[t.Name()]; c != "" {
		schema["description"] = c
	}
	properties, required := object{}, []any{}
	s.fields(t, properties, &required)
	schema["properties"] = properties
	if len(required) > 0 {
		schema["required"] = required
	}
	return ref
}

func (s *schemas) fields(t reflect.Type, properties object, required *[]any) {
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			s.fields(f.Type, properties, required)
			continue
		case !f.IsExported() || name == "-":
			continue
		case name == "":
			name = f.Name
		}
		p := s.of(f.Type)
		if c := s.comments[t.Name()+"."+f.Name]; c != "" {
			p["description"] = c
		}
		properties[name] = p
		if !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero") {
			*required = append(*required, name)
			if k := f.Type.Kind(); (k == reflect.Slice || k == reflect.Map || k == reflect.Pointer) && p["type"] != nil {
				p["type"] = []any{p["type"], "null"} // as encoding/json writes one that is nil
			}
		}
	}
}

// comments reads what the sources say of types and their fields.
func comments(t *testing.T) map[string]string {
	t.Helper()
	out := make(map[string]string)
	for _, dir := range []string{"..", filepath.Join("..", "..", "abi")} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range f.Decls {
				g, ok := d.(*ast.GenDecl)
				if !ok || g.Tok != token.TYPE {
					continue
				}
				for _, spec := range g.Specs {
					ts := spec.(*ast.TypeSpec)
					st, ok := ts.Type.(*ast.StructType)
					if !ok || !ts.Name.IsExported() {
						continue
					}
					out[ts.Name.Name] = oneLine(g.Doc.Text())
					for _, field := range st.Fields.List {
						for _, n := range field.Names {
							out[ts.Name.Name+"."+n.Name] = oneLine(field.Doc.Text() + field.Comment.Text())
						}
					}
				}
			}
		}
	}
	return out
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
