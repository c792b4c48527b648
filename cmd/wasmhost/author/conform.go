package author

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"wasmhost.example/abi"
	"wasmhost.example/api"
	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/guesttest"
)

// conform runs the module by the rules of a good guest.
func conform(a *cli.App, ctx context.Context, wasm []byte, o crossOptions) (err error) {
	limits, err := daemon.ParseLimits(o.limits)
	if err != nil {
		return err
	}

	var events [][]byte
	if o.events != "" {
		if events, err = readEvents(a, o.events); err != nil {
			return err
		}
	}

	if o.replay != "" {
		if events, err = transcriptEvents(a, &o); err != nil {
			return err
		}
	}

	trial, err := guesttest.NewRunner(ctx, wasm, limits)
	if err != nil {
		return err
	}

	defer func() { err = errors.Join(err, trial.Close(ctx)) }()
	if a.Format == "table" {
		if err := a.Print(nil, func(w io.Writer) { cli.WriteReport(w, trial.Report()) }, nil); err != nil {
			return err
		}
	}

	verdicts, failed := []guesttest.RuleVerdict{}, 0
	run := guesttest.Conformance{Runner: trial, Config: []byte(o.config), Events: events}
	if err := run.Run(ctx, func(v guesttest.RuleVerdict) error {
		verdicts = append(verdicts, v)
		if v.Verdict == guesttest.Failed {
			failed++
		}

		switch a.Format {
		case "jsonl":
			return json.NewEncoder(a.Out).Encode(v)
		case "table":
			return writeVerdict(a.Out, v)
		}

		return nil
	}); err != nil {
		return err
	}

	switch a.Format {
	case "json":
		err = json.NewEncoder(a.Out).Encode(struct {
			*abi.Report
			Rules []guesttest.RuleVerdict `json:"rules"`
		}{trial.Report(), verdicts})
	case "name":
		_, err = fmt.Fprintln(a.Out, trial.Report().Digest)
	}

	if err == nil && failed > 0 {
		err = cli.ExitWith(api.ExitVerification, fmt.Errorf("%w: %d of %d", errNotConforming, failed, len(verdicts)))
	}
	return err
}

// errNotConforming says that a module breaks rules.
var errNotConforming = errors.New("the module breaks rules of a good guest")

func writeVerdict(w io.Writer, v guesttest.RuleVerdict) error {
	mark := map[string]string{guesttest.Passed: "ok", guesttest.Failed: "FAILED", guesttest.Skipped: "-"}[v.Verdict]
	if _, err := fmt.Fprintf(w, "%-6s  %-11s  %s\n", mark, v.Rule, cli.OneLine(v.Detail)); err != nil || v.Mend == "" {
		return err
	}
	_, err := fmt.Fprintf(w, "        %-11s  mend: %s\n", "", cli.OneLine(v.Mend))
	return err
}

// readEvents returns the lines of a file.
func readEvents(a *cli.App, path string) ([][]byte, error) {
	in, err := a.Open(path)
	if err != nil {
		return nil, err
	}

	defer in.Close()
	var events [][]byte
	for next := cli.LineReader(in); ; {
		line, err := next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}

		events = append(events, bytes.Clone(line))
	}

	if len(events) == 0 {
		return nil, cli.Usagef("%s has no events: write one a line", path)
	}
	return events, nil
}

// transcriptEvents returns the direct events of --replay, and sets the configuration
// that it says.
func transcriptEvents(a *cli.App, o *crossOptions) ([][]byte, error) {
	lines, err := readTranscript(a, o.replay)
	if err != nil {
		return nil, err
	}

	var events [][]byte
	for i := range lines {
		l := &lines[i]
		if l.Config != nil {
			if o.config != "" {
				return nil, cli.Usagef("%s says the configuration: --config is not for it", o.replay)
			}
			o.config = *l.Config
			continue
		}

		h, err := l.happening(1)
		if err != nil {
			return nil, err
		}
		if h.Kind == daemon.EventDirect {
			events = append(events, h.Payload)
		}
	}

	if len(events) == 0 {
		return nil, cli.Usagef("%s has no events of kind direct", o.replay)
	}
	return events, nil
}
