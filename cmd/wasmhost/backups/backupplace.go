package backups

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/host/backup"
	"wasmhost.example/host/backup/s3"
)

// placeOptions say how a place is reached.
type placeOptions struct{ endpoint, region string }

func (o *placeOptions) declare(c *cobra.Command) {
	c.Flags().StringVar(&o.endpoint, "s3-endpoint", os.Getenv("AWS_ENDPOINT_URL"), "address of the S3 store (AWS_ENDPOINT_URL); default: Amazon's")
	c.Flags().StringVar(&o.region, "s3-region", os.Getenv("AWS_REGION"), "region of the bucket (AWS_REGION); default: the store says")
}

// open opens a place, to read backups of it or to make one.
func (o *placeOptions) open(place string, create bool) (backup.Objects, error) {
	if strings.HasPrefix(place, "s3://") {
		at, err := s3.Open(s3.Config{URL: place, Endpoint: o.endpoint, Region: o.region})
		if errors.Is(err, s3.ErrPlace) {
			return nil, cli.Usagef("%v", err)
		}
		return asObjects(at, err)
	}

	info, err := os.Stat(place)
	switch {
	case err == nil && info.IsDir(), errors.Is(err, fs.ErrNotExist) && create && strings.HasSuffix(place, "/"):
		return asObjects(backup.OpenDir(place, create))
	case err == nil && !create:
		return asObjects(backup.OpenArchive(place))
	case create && (err == nil || errors.Is(err, fs.ErrNotExist)):
		return asObjects(backup.NewArchive(place))
	}

	return nil, fmt.Errorf("opening the place of backups: %w", err)
}

// asObjects keeps a nil pointer out of the interface.
func asObjects[T backup.Objects](place T, err error) (backup.Objects, error) {
	if err != nil {
		return nil, err
	}
	return place, nil
}

// backupShower shows how a backup, its check or its restoration goes: as lines, or on
// a terminal as a bar.
type backupShower struct {
	*cli.App
	bar   *progressbar.ProgressBar
	phase string
	told  time.Time
}

// progressEvery is how often a line of JSON says how far it is.
const progressEvery = time.Second

func (s *backupShower) step(p backup.Progress) {
	began := p.Phase != s.phase
	s.phase = p.Phase
	switch {
	case s.Format == "jsonl":
		if now := time.Now(); began || now.Sub(s.told) >= progressEvery {
			s.told = now
			_ = json.NewEncoder(s.Out).Encode(map[string]any{"progress": p}) // a reader that is gone is found at the end
		}

	case cli.IsTerminal(s.Err):
		if s.bar == nil {
			s.bar = progressbar.NewOptions64(max(p.Whole, 1), progressbar.OptionSetWriter(cli.Bare(s.Err)), progressbar.OptionShowBytes(true),
				progressbar.OptionSetWidth(30), progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true), progressbar.OptionThrottle(100*time.Millisecond))
			s.bar.Describe(p.Phase)
		}
		_ = s.bar.Set64(min(p.Done, s.bar.GetMax64()-1)) // at its end the bar would go; a terminal that is gone is found at the end

	case began:
		fmt.Fprintf(s.Err, "%s: %s\n", p.Phase, cli.Size(p.Whole))
	}
}

// clear takes the bar away.
func (s *backupShower) clear() {
	if s.bar != nil {
		_ = s.bar.Clear()
	}
}
