package wasmhost_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// imports says which packages of ours each package may import, and which of
// others' only it may. Imports flow one way.
var imports = map[string]struct{ ours, others []string }{
	"abi":                          {},
	"wire/canon/canontest":         {ours: []string{"wire/canon"}},
	"wire/canon":                   {others: []string{"github.com/fxamacker/cbor/v2", "github.com/x448/float16"}},
	"identity":                     {ours: []string{"wire/canon"}, others: []string{"golang.org/x/crypto"}},
	"host/backoff":                 {},
	"host/backup":                  {ours: []string{"identity", "wire/canon"}},
	"host/backup/s3":               {ours: []string{"host/backup"}, others: []string{"github.com/minio/minio-go/v7"}},
	"host/budget":                  {},
	"host/channel":                 {ours: []string{"identity", "wire/canon"}},
	"host/effect":                  {ours: []string{"identity", "wire/canon"}},
	"host/migration":               {ours: []string{"identity", "wire/canon"}, others: []string{"github.com/klauspost/compress"}},
	"host/drain":                   {ours: []string{"host", "host/migration", "host/placement", "identity"}},
	"host/placement":               {ours: []string{"identity"}},
	"host/directory":               {ours: []string{"identity", "wire/canon"}, others: []string{"golang.org/x/sys"}},
	"host/directory/etcd":          {ours: []string{"host/directory"}, others: []string{"go.etcd.io/etcd/api/v3", "go.etcd.io/etcd/client/pkg/v3", "go.etcd.io/etcd/client/v3", "go.etcd.io/etcd/server/v3", "go.uber.org/zap", "google.golang.org/grpc"}},
	"host/meter":                   {},
	"host/group":                   {ours: []string{"host/placement", "host/store", "identity", "wire/canon"}, others: []string{"github.com/zeebo/xxh3"}},
	"host/standby":                 {ours: []string{"identity", "wire/canon", "host/store"}},
	"host/fair":                    {},
	"host/store":                   {ours: []string{"host/meter"}, others: []string{"github.com/cockroachdb/pebble/v2"}},
	"host/internal/sandbox":        {ours: []string{"abi"}, others: []string{"github.com/tetratelabs/wazero", "golang.org/x/sys", "github.com/klauspost/compress"}},
	"host":                         {ours: []string{"abi", "identity", "wire/canon", "host/backoff", "host/budget", "host/meter", "host/migration", "host/channel", "host/directory", "host/effect", "host/fair", "host/standby", "host/store", "host/internal/sandbox"}, others: []string{"github.com/klauspost/compress", "go.opentelemetry.io/otel"}},
	"host/hosttest":                {ours: []string{"host", "host/channel", "host/migration", "host/standby", "identity"}},
	"wire":                         {ours: []string{"abi", "identity", "wire/canon", "host", "host/backoff", "host/budget", "host/channel", "host/directory", "host/migration", "host/standby", "host/store"}, others: []string{"github.com/quic-go/quic-go", "go.opentelemetry.io/otel"}},
	"wire/control":                 {ours: []string{"abi", "identity", "wire/canon", "host", "host/backup", "host/budget", "host/channel", "host/directory", "host/drain", "host/effect", "host/group", "host/meter", "host/migration", "host/placement", "host/store", "wire"}, others: []string{"github.com/prometheus/client_golang", "go.opentelemetry.io/otel"}},
	"cmd/wasmhost":                 {ours: []string{"abi", "cmd/wasmhost/otlp", "cmd/wasmhost/project", "identity", "wire/canon", "host", "host/backup", "host/backup/s3", "host/budget", "host/directory", "host/directory/etcd", "host/effect", "host/group", "host/placement", "host/store", "wire", "wire/control"}, others: []string{"github.com/spf13/cobra", "github.com/spf13/pflag", "github.com/BurntSushi/toml", "github.com/schollz/progressbar/v3", "go.etcd.io/etcd/client/v3", "golang.org/x/sys", "go.opentelemetry.io/otel"}},
	"cmd/wasmhost/otlp":            {others: []string{"go.opentelemetry.io/otel"}},
	"cmd/wasmhost/project":         {ours: []string{"guest-sdk", "guest-sdk/go"}, others: []string{"github.com/BurntSushi/toml", "github.com/fsnotify/fsnotify"}},
	"scripts/internal/attack":      {ours: []string{"identity", "scripts/internal/fleet"}, others: []string{"github.com/fxamacker/cbor/v2", "github.com/quic-go/quic-go"}},
	"scripts/internal/backup":      {ours: []string{"scripts/internal/fleet", "wire/control"}},
	"scripts/internal/channels":    {ours: []string{"scripts/internal/fleet", "wire/control"}},
	"scripts/internal/cluster":     {ours: []string{"scripts/internal/fleet", "scripts/internal/spaces", "wire/control"}},
	"scripts/internal/crash":       {ours: []string{"host", "identity", "scripts/internal/fleet", "wire/control"}},
	"scripts/internal/fleet":       {ours: []string{"host", "identity", "wire/control"}},
	"scripts/internal/model":       {ours: []string{"host/migration"}},
	"scripts/internal/mutants":     {},
	"scripts/internal/netns":       {ours: []string{"host", "host/migration", "scripts/internal/fleet", "scripts/internal/spaces", "wire/control"}},
	"scripts/internal/rows":        {},
	"scripts/internal/sbom":        {},
	"scripts/internal/seams":       {ours: []string{"host", "identity", "scripts/internal/fleet", "wire/control"}},
	"scripts/internal/soak":        {ours: []string{"scripts/internal/fleet", "wire/control"}},
	"scripts/internal/spaces":      {others: []string{"golang.org/x/sys"}},
	"scripts/internal/testsummary": {},
}

func TestImportsFlowOneWay(t *testing.T) {
	seen := make(map[string]bool)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(path))
		if d.IsDir() {
			if strings.HasPrefix(d.Name(), ".") && path != "." || path == "guest-sdk" || path == filepath.Join("scripts", "bench") || path == filepath.Join("scripts", "dashboard") {
				return filepath.SkipDir // modules of their own
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		seen[dir] = true
		allowed, ok := imports[dir]
		if !ok {
			t.Errorf("package %s is not in the table of imports", dir)
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			ours, isOurs := strings.CutPrefix(name, "wasmhost/")
			switch {
			case isOurs && !contains(allowed.ours, ours, false):
				t.Errorf("%s imports %s", path, name)
			case !isOurs && strings.Contains(strings.SplitN(name, "/", 2)[0], ".") && !contains(allowed.others, name, true):
				t.Errorf("%s imports %s", path, name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir := range imports {
		if !seen[dir] {
			t.Errorf("the table of imports has %s, which is not there", dir)
		}
	}
}

func contains(list []string, name string, prefixes bool) bool {
	for _, l := range list {
		if name == l || prefixes && strings.HasPrefix(name, l+"/") {
			return true
		}
	}
	return false
}
