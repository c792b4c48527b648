package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/identity"
)

// pastKey names the file, beside the data, that holds the seed of the node's key.
const pastKey = "node-seed"

// manyStopped measures what a node carries of daemons that were removed: it makes and
// removes so many, and then starts on the directory in a process of its own, beside
// one on a directory that never had any.
func manyStopped(root string, many int) (err error) {
	dir, err := os.MkdirTemp("", "wasmhost-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	for _, n := range []int{0, many} {
		data := filepath.Join(dir, fmt.Sprint(n))
		begun := time.Now()
		if err := stopMany(root, data, n); err != nil {
			return err
		}
		took := time.Since(begun)
		size, tables, err := sizeOf(filepath.Join(data, "db"))
		if err != nil {
			return err
		}
		fmt.Printf("stopped (%d counters were made, sent an event and removed, in %v)\n", n, took.Round(time.Second))
		fmt.Printf("  on disk: %.1f MB, of which tables have %.1f MB, %.0f bytes of each\n", float64(size)/1e6, float64(tables)/1e6, float64(tables)/float64(max(n, 1)))
		for range 3 {
			out, err := exec.Command(exe, "-past", data).Output()
			if err != nil {
				return fmt.Errorf("starting on %s: %w", data, err)
			}
			fmt.Printf("  %s\n", strings.TrimSpace(string(out)))
		}
		if size, tables, err = sizeOf(filepath.Join(data, "db")); err != nil {
			return err
		}
		fmt.Printf("  after these starts: %.1f MB, of which tables have %.1f MB\n", float64(size)/1e6, float64(tables)/1e6)
	}
	return nil
}

func stopMany(root, data string, n int) error {
	if err := os.MkdirAll(data, 0o700); err != nil {
		return err
	}
	wasm, err := guest(root, "c/counter.wasm")
	if err != nil {
		return err
	}
	key, err := identity.Generate()
	if err != nil {
		return err
	}
	seed, err := key.Seed()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(data, pastKey), seed, 0o600); err != nil {
		return err
	}
	r, s, _, err := openHost(data, key, host.Options{})
	if err != nil {
		return err
	}
	if _, err := r.Kinds().Push(ctx, "k", wasm); err != nil {
		return err
	}
	err = spread(64, n, func(int) error {
		d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "k"})
		if err == nil {
			_, err = r.Deliver(ctx, d.Entity, daemon.Event{Payload: rawRecord})
		}
		if err == nil {
			err = r.Stop(ctx, d.Entity)
		}
		return err
	})
	return errors.Join(err, r.Shutdown(ctx), s.Close())
}

// startOnPast starts a node on the directory and prints how long that took, and how
// much of the process is then resident.
func startOnPast(w io.Writer, data string) error {
	seed, err := os.ReadFile(filepath.Join(data, pastKey))
	if err != nil {
		return err
	}
	key, err := identity.FromSeed(seed)
	if err != nil {
		return err
	}
	begun := time.Now()
	r, s, started, err := openHost(data, key, host.Options{})
	if err != nil {
		return err
	}
	whole := time.Since(begun)
	first, err := resident()
	if err != nil {
		return err
	}
	debug.FreeOSMemory()
	then, err := resident()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "ready after %v, of which the store took %v; %.0f MB resident, %.0f MB after a collection\n",
		whole.Round(time.Millisecond), (whole - started).Round(time.Millisecond), float64(first)/1e6, float64(then)/1e6)
	return errors.Join(r.Shutdown(ctx), s.Close())
}

// sizeOf returns how many bytes the engine's files have, and of those the tables: the
// others are logs, which are used again.
func sizeOf(dir string) (size, tables int64, err error) {
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		i, err := e.Info()
		if err != nil {
			return err
		}
		size += i.Size()
		if ext := filepath.Ext(path); ext == ".sst" || ext == ".blob" {
			tables += i.Size()
		}
		return nil
	})
	return size, tables, err
}
