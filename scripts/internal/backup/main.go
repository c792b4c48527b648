// Command backup backs up real nodes under load, and restores them while the node that
// the backup is of is gone, and while it is there. Run it by scripts/backup.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	bin := flag.String("bin", "", "the program wasmhost")
	mib := flag.Int("mib", 32, "how much the node keeps beside its daemons")
	seconds := flag.Int("seconds", 4, "for how long pauses are measured, without backups and with")
	endpoint := flag.String("s3", "", "address of an S3 store with the bucket backups; empty: none")
	pauses := flag.Bool("pauses", false, "measure pauses, and restore nothing")
	keep := flag.Bool("keep", false, "keep the data directories and logs")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("", "wasmhost-backup-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "backup:", err)
		os.Exit(1)
	}
	began := time.Now()
	t := &trial{dir: dir, bin: *bin, mib: *mib, length: time.Duration(*seconds) * time.Second, endpoint: *endpoint, pauses: *pauses, place: filepath.Join(dir, "backups") + "/"}
	err = t.run(ctx)
	t.killAll()
	if err != nil {
		fmt.Fprintf(os.Stderr, "backup: FAILED: %v\nbackup: data directories and logs are in %s\n", err, dir)
		os.Exit(1)
	}
	if !*keep {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, "backup:", err)
			os.Exit(1)
		}
	}
	fmt.Printf("backup: all held, in %.0f s\n", time.Since(began).Seconds())
}
