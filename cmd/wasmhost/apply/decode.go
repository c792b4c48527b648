package apply

import (
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/host/daemon"
)

// notYet are words of files that are for what is not there.
var notYet = map[string]string{"route": "routes cannot be applied yet", "routes": "routes cannot be applied yet", "label": "labels cannot be applied yet", "labels": "labels cannot be applied yet"}

// Parse reads what a file says; the name says in which language, TOML where it ends with
// neither .yaml nor .yml and the text does not look like YAML. Errors wrap ErrFile.
func Parse(file string, text []byte) (*App, error) {
	at := place{file: file}
	if len(text) > maxFile {
		return nil, at.errorf("it has more than %d bytes", maxFile)
	}
	parse := parseTOML
	if ext := strings.ToLower(filepath.Ext(file)); ext == ".yaml" || ext == ".yml" || ext != ".toml" && looksLikeYAML(string(text)) {
		parse = parseYAML
	}
	tree, err := parse(text)
	if err != nil {
		return nil, at.errorf("%w", err)
	}
	app := &App{}
	if err := decode(tree, reflect.ValueOf(app).Elem(), "", at); err != nil {
		return nil, err
	}
	for i := range app.Kinds {
		if app.Kinds[i].limits, err = limitsOf(app.Kinds[i].Limits, app.Kinds[i].at); err != nil {
			return nil, err
		}
	}
	for i := range app.Daemons {
		if app.Daemons[i].limits, err = limitsOf(app.Daemons[i].Limits, app.Daemons[i].at); err != nil {
			return nil, err
		}
	}
	return app, app.check()
}

// looksLikeYAML reports whether the first line that says something is one of YAML.
func looksLikeYAML(text string) bool {
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, _, colon := strings.Cut(line, ":")
		return line == "---" || colon && !strings.ContainsAny(key, "=[\"'")
	}
	return false
}

func limitsOf(texts map[string]string, at place) (map[string]int64, error) {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		list = append(list, name+"="+texts[name])
	}
	l, err := daemon.ParseLimits(list)
	if err != nil {
		return nil, at.errorf("%w", err)
	}
	return l.Map(), nil
}

// decode fills v from n; of says what of, for people.
func decode(n *node, v reflect.Value, of string, at place) error {
	at.line = n.line
	wrong := func(what string) error { return at.errorf("%s is %s", of, what) }
	switch v.Kind() {
	case reflect.String:
		text, ok := n.value.(string)
		if !ok {
			return wrong("a text")
		}
		v.SetString(text)
	case reflect.Bool:
		on, ok := n.value.(bool)
		if !ok {
			return wrong("true or false")
		}
		v.SetBool(on)
	case reflect.Int64:
		number, ok := n.value.(int64)
		if !ok || number < 0 {
			return wrong("a whole number, at least 0")
		}
		v.SetInt(number)
	case reflect.Slice:
		list, ok := n.value.([]*node)
		if !ok && v.Type().Elem().Kind() == reflect.Struct {
			return wrong(fmt.Sprintf("a list, each of which has its name inside: [[%s]] in TOML, - in YAML", of))
		}
		if !ok {
			return wrong("a list")
		}
		if len(list) > maxThings {
			return wrong(fmt.Sprintf("a list of at most %d", maxThings))
		}
		out := reflect.MakeSlice(v.Type(), len(list), len(list))
		for i, item := range list {
			if err := decode(item, out.Index(i), of, at); err != nil {
				return err
			}
		}
		v.Set(out)
	case reflect.Map:
		table, ok := n.value.(map[string]*node)
		if !ok {
			return wrong("a table")
		}
		out := make(map[string]string, len(table))
		for key, item := range table {
			switch value := item.value.(type) {
			case string, int64:
				out[key] = fmt.Sprint(value)
			default:
				return place{at.file, item.line}.errorf("%s.%s is a text or a number", of, key)
			}
		}
		v.Set(reflect.ValueOf(out))
	case reflect.Struct:
		return decodeTable(n, v, of, at)
	}
	return nil
}

func decodeTable(n *node, v reflect.Value, of string, at place) error {
	table, ok := n.value.(map[string]*node)
	if !ok {
		return at.errorf("%s is a table", of)
	}
	fields := make(map[string]reflect.Value)
	for i := range v.NumField() {
		if name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ","); name != "" {
			fields[name] = v.Field(i)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(table)) {
		field, ok := fields[key]
		if !ok {
			return unknownKey(place{at.file, table[key].line}, of, key, slices.Sorted(maps.Keys(fields)))
		}
		if err := decode(table[key], field, strings.TrimPrefix(of+"."+key, "."), at); err != nil {
			return err
		}
	}
	switch thing := v.Addr().Interface().(type) {
	case *Kind:
		thing.at = at
	case *Channel:
		thing.at = at
	case *Daemon:
		thing.at = at
	case *Group:
		thing.at = at
	case *Grant:
		thing.at = at
	}
	return nil
}

// unknownKey is the error of a key that says nothing, with the one that is nearest.
func unknownKey(at place, of, key string, known []string) error {
	if why := notYet[key]; why != "" {
		return at.errorf("%s", why)
	}
	where := ""
	if of != "" {
		where = " of " + of
	}
	for _, k := range known {
		if cli.Distance(k, key) <= 2 || k+"s" == key {
			return at.errorf("unknown key %q%s; is %q meant?", key, where, k)
		}
	}
	return at.errorf("unknown key %q%s: there are %s", key, where, strings.Join(known, ", "))
}
