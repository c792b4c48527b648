package cli

import (
	"errors"
	"io"
	"os"
	"path/filepath"
)

// WriteTo copies r to a file, or to standard output. A file that was there is
// replaced when all of r has come, and else left as it was.
func (a *App) WriteTo(path string, r io.Reader) error {
	if path == "-" {
		to := a.Out
		if !IsTerminal(to) {
			to = Bare(to) // a file is the same in every format
		}
		_, err := io.Copy(to, r)
		return err
	}
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0) // a pipe, a device
		if err != nil {
			return err
		}
		_, err = io.Copy(f, r)
		return errors.Join(err, f.Close())
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".wasmhost-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
