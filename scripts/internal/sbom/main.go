// Command sbom writes what a program is made of, as its build says: a software bill
// of materials in the JSON of CycloneDX 1.6, the same for the same program.
package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
)

func main() {
	version := flag.String("version", "", "of the program; empty: as its build says")
	flag.Usage = func() { fmt.Fprintln(os.Stderr, "usage: sbom [-version V] PROGRAM > FILE") }
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := write(os.Stdout, flag.Arg(0), *version); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

type bill struct {
	Format       string       `json:"bomFormat"`
	Spec         string       `json:"specVersion"`
	Serial       string       `json:"serialNumber"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Component component `json:"component"`
}

type component struct {
	Type       string     `json:"type"`
	Ref        string     `json:"bom-ref"`
	Name       string     `json:"name"`
	Version    string     `json:"version,omitempty"`
	PURL       string     `json:"purl,omitempty"`
	Hashes     []hash     `json:"hashes,omitempty"`
	Properties []property `json:"properties,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type dependency struct {
	Ref string   `json:"ref"`
	On  []string `json:"dependsOn,omitempty"`
}

func write(w io.Writer, program, version string) error {
	f, err := os.Open(program)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := buildinfo.Read(f)
	if err != nil {
		return fmt.Errorf("reading the build of %s: %w", program, err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return fmt.Errorf("hashing %s: %w", program, err)
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", " ")
	return enc.Encode(billOf(info, version, sum.Sum(nil)))
}

// billOf is the bill of the program whose SHA-256 is sum.
func billOf(info *debug.BuildInfo, version string, sum []byte) *bill {
	if version == "" {
		version = info.Main.Version
	}
	main := component{Type: "application", Ref: "program", Name: "wasmhost", Version: version, Hashes: []hash{{"SHA-256", hex.EncodeToString(sum)}}}
	for _, s := range info.Settings {
		if strings.HasPrefix(s.Key, "GO") || s.Key == "CGO_ENABLED" {
			main.Properties = append(main.Properties, property{"go:" + s.Key, s.Value})
		}
	}
	b := &bill{Format: "CycloneDX", Spec: "1.6", Serial: "urn:uuid:" + uuid(sum), Version: 1, Metadata: metadata{main}}
	goVersion := strings.TrimPrefix(info.GoVersion, "go")
	b.Components = append(b.Components, component{Type: "library", Ref: "std", Name: "std", Version: goVersion, PURL: "pkg:golang/std@" + goVersion})
	for _, m := range info.Deps {
		used := m
		if m.Replace != nil {
			used = m.Replace
		}
		c := component{Type: "library", Ref: m.Path + "@" + m.Version, Name: m.Path, Version: m.Version}
		if strings.Contains(strings.SplitN(used.Path, "/", 2)[0], ".") && !strings.HasPrefix(used.Path, ".") { // not a folder of ours
			c.Name, c.Version, c.PURL = used.Path, used.Version, "pkg:golang/"+used.Path+"@"+used.Version
		}
		if used.Sum != "" {
			c.Properties = []property{{"go:sum", used.Sum}}
		}
		b.Components = append(b.Components, c)
	}
	d := dependency{Ref: main.Ref}
	for _, c := range b.Components {
		d.On = append(d.On, c.Ref)
	}
	b.Dependencies = []dependency{d}
	return b
}

// uuid is one of version 8 (RFC 9562), which follows from sum.
func uuid(sum []byte) string {
	u := append([]byte{}, sum[:16]...)
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80
	h := hex.EncodeToString(u)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
