package author

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"wasmhost.example/api"
	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/guesttest"
)

// wrongStep is one step of the vectors that a probe does not follow.
type wrongStep struct {
	Step  int    `json:"step"`
	Wrong string `json:"wrong"`
}

// vectors runs a probe by golden vectors.
func vectors(a *cli.App, ctx context.Context, wasm []byte, o crossOptions) (err error) {
	b, err := a.ReadFile(o.vectors)
	if err != nil {
		return err
	}

	v, err := guesttest.ReadVectors(b)
	if err != nil {
		return cli.Usagef("%s: %v", o.vectors, err)
	}

	trial, err := guesttest.NewRunner(ctx, wasm, daemon.Limits{})
	if err != nil {
		return err
	}

	defer func() { err = errors.Join(err, trial.Close(ctx)) }()
	wrong := []wrongStep{}
	if err := v.Run(ctx, trial, func(step int, what string) error {
		wrong = append(wrong, wrongStep{step, what})
		return nil
	}); err != nil {
		return err
	}

	answer := struct {
		Steps int         `json:"steps"`
		Wrong []wrongStep `json:"wrong"`
	}{len(v.Steps), wrong}

	if a.Format == "jsonl" {
		for _, w := range wrong {
			if err := json.NewEncoder(a.Out).Encode(w); err != nil {
				return err
			}
		}
	} else if err := a.Print(answer, func(w io.Writer) {
		for _, s := range wrong {
			fmt.Fprintf(w, "step %d: %s\n", s.Step, s.Wrong)
		}
		fmt.Fprintf(w, "%d of %d steps are as they must be\n", len(v.Steps)-len(wrong), len(v.Steps))
	}, func() string { return trial.Report().Digest }); err != nil {
		return err
	}

	if len(wrong) > 0 {
		return cli.ExitWith(api.ExitVerification, fmt.Errorf("%d of %d steps differ from the golden vectors", len(wrong), len(v.Steps)))
	}
	return nil
}
