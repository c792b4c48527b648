package project

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/BurntSushi/toml"
)

// SettingsFile is the name of a project's settings.
const SettingsFile = "daemon.toml"

// Settings are what wasmhost dev needs to know of a project.
type Settings struct {
	Name   string   // of the kind, and of its daemon
	Build  []string // the command and its arguments, run in the project's folder
	Tools  []string // a command that says what the build needs, and fails where it is missing; may be none
	Module string   // the file that it makes, relative to the folder
	Config string   // for a new daemon
	Ignore []string // names of folders and files that are not watched, besides the usual ones
}

// ErrSettings says that a project's settings are not right.
var ErrSettings = errors.New("not the settings of a project")

// Read reads the settings of the project in dir.
func Read(dir string) (*Settings, error) {
	var s Settings
	file := filepath.Join(dir, SettingsFile)
	meta, err := toml.DecodeFile(file, &s)
	var form toml.ParseError

	switch {
	case errors.As(err, &form):
		return nil, fmt.Errorf("%w: %s: %w", ErrSettings, file, err)
	case err != nil:
		return nil, err
	case len(meta.Undecoded()) > 0:
		return nil, fmt.Errorf("%w: %s: unknown key %q", ErrSettings, file, meta.Undecoded()[0])
	case s.Name == "" || len(s.Build) == 0 || s.Module == "":
		return nil, fmt.Errorf("%w: %s needs name, build and module", ErrSettings, file)
	case !filepath.IsLocal(s.Module):
		return nil, fmt.Errorf("%w: %s: module %q is not below the project's folder", ErrSettings, file, s.Module)
	}

	return &s, nil
}
