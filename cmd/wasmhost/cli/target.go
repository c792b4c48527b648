package cli

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
	"wasmhost.example/cmd/wasmhost/contexts"
)

// Target is the node that a command is for.
type Target struct {
	contexts.Context
	Source string // what named it
}

// Address is where the node is.
func (t Target) Address() string { return cmp.Or(t.URL, t.Socket) }

// ContextsFile is where contexts are kept.
func ContextsFile() string { return filepath.Join(filepath.Dir(configFiles()[1]), "contexts.toml") }

// unsaid is the rank of a setting that nothing names.
const unsaid = 4

// rankOf is the rank of a source of settings: the lower wins.
func rankOf(source string) int {
	switch {
	case strings.HasPrefix(source, "--"):
		return 0
	case strings.HasPrefix(source, "WASMHOST_"):
		return 1
	case source == configFiles()[0]:
		return 2
	case source == configFiles()[1]:
		return 3
	}
	return unsaid
}

// FindTarget returns the node that the settings name: by its address, or by a context,
// whichever has the higher rank; else the current context. Two of one rank are an error.
func FindTarget(settings []Value) (Target, error) {
	of := func(key string) Value {
		i := slices.IndexFunc(settings, func(v Value) bool { return v.Key == key })
		return settings[i]
	}
	socket, base, named := of("socket"), of("url"), of("context")
	address := socket
	if base.Value != "" {
		address = base // wherever the socket is said
	}
	byContext, byAddress := rankOf(named.Source), min(rankOf(socket.Source), rankOf(base.Source))
	if byContext < unsaid && byContext == byAddress {
		return Target{}, Usagef("%s and %s both name a node: give one", named.Source, address.Source)
	}

	t := Target{Context: contexts.Context{Name: contexts.Default, Socket: socket.Value, URL: base.Value}, Source: address.Source}
	if byAddress < byContext {
		return t.withFiles(of("token_file"), of("ca_file"), unsaid), nil
	}
	set, err := contexts.Read(ContextsFile())
	if err != nil {
		return t, err
	}
	name, source := named.Value, named.Source
	if byContext == unsaid {
		name, source = set.Current(), ContextsFile()
	}
	if name != contexts.Default {
		if t.Context, err = set.Get(name); err != nil {
			return t, fmt.Errorf("%w, which %s names: wasmhost context ls lists them", err, source)
		}
		t.Source = source
	} else if byContext < unsaid {
		t.Socket, t.URL, t.Source = SettingOf("socket").Def, "", source
	}
	return t.withFiles(of("token_file"), of("ca_file"), min(byContext, 1)), nil
}

// withFiles puts the files that settings of this rank, or a higher one, name in the place
// of the context's: a token that was meant for another node does not go to this one.
func (t Target) withFiles(token, ca Value, rank int) Target {
	if rankOf(token.Source) <= rank {
		t.TokenFile = cmp.Or(token.Value, t.TokenFile)
	}
	if rankOf(ca.Source) <= rank {
		t.CAFile = cmp.Or(ca.Value, t.CAFile)
	}
	return t
}

// settingsOf puts the target's context in the place of what settings say.
func (t Target) settingsOf(settings []Value) {
	if t.Name == contexts.Default {
		return
	}
	effective := map[string]string{"socket": t.Socket, "url": t.URL, "token_file": t.TokenFile, "ca_file": t.CAFile}
	for i, v := range settings {
		if v.Key == "context" {
			settings[i].Value, settings[i].Source = t.Name, t.Source
		}
		if now, ok := effective[v.Key]; ok && now != v.Value {
			settings[i].Value, settings[i].Source = now, "context "+t.Name
		}
	}
}

// asksNode reports whether c may ask the node that a context names.
func asksNode(c *cobra.Command) bool {
	path := strings.TrimPrefix(c.CommandPath(), "wasmhost ")
	first, _, _ := strings.Cut(path, " ")
	switch first {
	case "config", "dashboard":
		return true
	case "context", "completion", cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd:
		return false
	}
	return !slices.Contains(alone, path)
}

// connect finds out which node the command is for.
func (a *App) connect(c *cobra.Command) (err error) {
	if a.Settings == nil { // a shell's completion
		if a.Settings, err = configure(c); err != nil {
			return err
		}
	}
	a.Target.Socket, a.Target.URL = c.Flag("socket").Value.String(), c.Flag("url").Value.String()
	a.Target.TokenFile, a.Target.CAFile = c.Flag("token-file").Value.String(), c.Flag("ca-file").Value.String()
	if c.HasParent() && c.Parent().Name() == "context" {
		return nil
	}
	if asksNode(c) {
		if a.Target, err = FindTarget(a.Settings); err != nil {
			return err
		}
		a.Target.settingsOf(a.Settings)
	} else if flag := c.Flag("context"); flag.Changed {
		return Usagef("%s asks no node: --context is not for it", c.CommandPath())
	}
	return a.dialURL()
}

// dialURL makes the client of the target's URL, where it has one.
func (a *App) dialURL() error {
	t := a.Target
	if t.URL == "" {
		return nil
	}
	u, err := url.Parse(t.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return Usagef("--url %q is not https://HOST:PORT: a token must not go unprotected", t.URL)
	}
	token := ""
	if t.TokenFile != "" {
		b, err := a.ReadFile(t.TokenFile)
		if err != nil {
			return fmt.Errorf("reading the API token: %w", err)
		}
		token = strings.TrimSpace(string(b))
	}
	var roots *x509.CertPool
	if t.CAFile != "" {
		b, err := a.ReadFile(t.CAFile)
		if err != nil {
			return fmt.Errorf("reading --ca-file: %w", err)
		}
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(b) {
			return Usagef("--ca-file %s holds no certificate", t.CAFile)
		}
	}
	a.remote = client.DialTLS(t.URL, token, roots)
	return nil
}

// contextText says which context a command is for; empty: none with a name.
func (a *App) contextText() string {
	if a.Target.Name == "" || a.Target.Name == contexts.Default {
		return ""
	}
	return fmt.Sprintf("%s (%s)", a.Target.Name, a.Target.Address())
}

// contextProblem puts what is known of an error of contexts into p.
func contextProblem(err error, p *api.Problem) (code int, known bool) {
	for _, e := range []struct {
		is   error
		name string
		exit int
	}{
		{contexts.ErrUnknown, "context-not-found", api.ExitNotFound}, {contexts.ErrExists, "context-exists", api.ExitConflict},
		{contexts.ErrNotPrivate, "contexts-not-private", api.ExitDenied}, {contexts.ErrInvalid, "bad-context", api.ExitUsage},
	} {
		if errors.Is(err, e.is) {
			p.Code, p.Hint = e.name, ""
			return e.exit, true
		}
	}
	return 0, false
}
