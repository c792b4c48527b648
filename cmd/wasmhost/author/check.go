package author

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"wasmhost.example/abi"
	"wasmhost.example/api"
	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/guesttest"
)

// Check is the command check.
func Check(a *cli.App) *cobra.Command {
	var o crossOptions
	c := &cobra.Command{
		Use: "check FILE", Short: "Say whether a module is a daemon, and whether it is a good one",
		Long: `Say whether a module is a daemon, how its state is captured, and what is missing;
then try it, with no node running: the conformance run sends it empty, large, binary
and many events and those of --events, saves and restores it between them, and has a
verdict for each rule. Where one fails, the exit code is 10. Give it events that mean
something to the daemon, and some that it is to refuse; --replay takes the events, and
the configuration, of a transcript of wasmhost run. --inspect stops before the run.
Limits (--limit) that do not fit one another, or a node with no others, are said first.

--vectors FILE runs the probe of a guest SDK by the golden vectors, abi/vectors.json,
instead; exit code 10 where one differs.

--cross-check N compares instead the two ways of restoring a module that has hooks
(wasmhost_snapshot and wasmhost_restore). It sends the lines of --events to a guest;
before the first and after each it restores one more guest from captured memory and
one through the hooks, and compares what the two answer to the next N events. Each
restore has a verdict. Where one differs, the hooks do not carry all of the state, and
the exit code is 10.`,
		Example: `  wasmhost check counter.wasm
  wasmhost check counter.wasm --events events.txt --config '{"start":7}'
  wasmhost check counter.wasm --inspect -o json
  wasmhost check probe.wasm --vectors abi/vectors.json
  wasmhost check counter.wasm --cross-check 10 --events events.txt
  printf 'a\nb\nc\n' | wasmhost check counter.wasm --cross-check 2 --events - -o jsonl`,
		Args: cli.Exact(1),
		RunE: func(c *cobra.Command, args []string) error {
			wasm, err := o.Read(a, args[0])
			if err != nil {
				return err
			}
			if err := checkLimits(o.limits); err != nil {
				return err
			}

			report, refusal := abi.Inspect(wasm, abi.Limits{ModuleBytes: 64 << 20, MemoryPages: 1024, Shape: true})
			if o.inspect || refusal != nil {
				err = a.Print(report, func(w io.Writer) { cli.WriteReport(w, report) }, func() string { return report.Digest })
				if refusal != nil {
					return refusal
				}
				return err
			}

			if o.vectors != "" {
				return vectors(a, c.Context(), wasm, o)
			}
			if !c.Flags().Changed("cross-check") {
				if o.events != "" && o.replay != "" {
					return cli.Usagef("set either --events or --replay")
				}
				return conform(a, c.Context(), wasm, o)
			}

			return crossCheck(a, c, wasm, report, o)
		},
	}

	c.Flags().IntVar(&o.next, "cross-check", 0, "compare hooks with captured memory, on so many events after each restore")
	c.Flags().StringVar(&o.events, "events", "", "a file whose lines are events; - is standard input")
	c.Flags().StringVar(&o.replay, "replay", "", "a transcript of wasmhost run whose events of kind direct are sent; - is standard input")
	c.Flags().StringVar(&o.config, "config", "", "configuration for the guest, as the module takes it")
	cli.MayBeEmpty(c, "config")
	c.Flags().StringArrayVar(&o.limits, "limit", nil, "NAME=VALUE: "+cli.LimitHelp)
	c.Flags().StringVar(&o.vectors, "vectors", "", "a file of golden vectors, abi/vectors.json, for the probe of an SDK")
	o.Declare(c)
	c.Flags().BoolVar(&o.inspect, "inspect", false, "do not run the module")
	return c
}

type crossOptions struct {
	next           int
	events, config string
	replay         string
	limits         []string
	inspect        bool
	vectors        string
	cli.Convention
}

// verdict is what a cross-check says of one restore.
type verdict struct {
	After    int     `json:"after"`
	Compared int     `json:"compared"`
	Same     bool    `json:"same"`
	Event    int     `json:"event,omitempty"` // that was answered otherwise
	Memory   *answer `json:"memory,omitempty"`
	Hooks    *answer `json:"hooks,omitempty"`
	Failure  string  `json:"failure,omitempty"` // of a hook
}

// answer is what a guest made of an event.
type answer struct {
	Outputs []payload `json:"outputs"`
	Failure string    `json:"failure,omitempty"`
}

type payload struct {
	Text    *string `json:"text,omitempty"` // when it is UTF-8
	Payload []byte  `json:"payload"`        // base64
}

func answerOf(a guesttest.Answer) *answer {
	out := &answer{Outputs: []payload{}, Failure: a.Failure}
	for _, b := range a.Outputs {
		out.Outputs = append(out.Outputs, payloadOf(b))
	}
	return out
}

func payloadOf(b []byte) payload {
	p := payload{Payload: b}
	if utf8.Valid(b) {
		text := string(b)
		p.Text = &text
	}
	return p
}

func answerText(a guesttest.Answer) string {
	if a.Failure != "" {
		return cli.OneLine(a.Failure)
	}
	if len(a.Outputs) == 0 {
		return "nothing"
	}

	var texts []string
	for _, b := range a.Outputs {
		texts = append(texts, fmt.Sprintf("%.120q", b))
	}
	return strings.Join(texts, ", ")
}

func crossCheck(a *cli.App, c *cobra.Command, wasm []byte, report *abi.Report, o crossOptions) error {
	if o.events == "" {
		return cli.Usagef("--cross-check needs events: give --events FILE")
	}
	if o.next < 1 || o.next > guesttest.MaxCrossCheck {
		return cli.Usagef("--cross-check %d: compare 1 to %d events", o.next, guesttest.MaxCrossCheck)
	}
	if report.State != abi.StateHooks {
		return cli.Usagef("there is nothing to cross-check: %v", guesttest.ErrNoHooks)
	}

	in, err := a.Open(o.events)
	if err != nil {
		return err
	}

	defer in.Close()
	limits, err := daemon.ParseLimits(o.limits)
	if err != nil {
		return err
	}

	out := bufio.NewWriter(a.Out)
	if a.Format == "table" {
		if err := a.Print(nil, func(w io.Writer) { cli.WriteReport(w, report) }, nil); err != nil {
			return err
		}
	}

	enc, all := json.NewEncoder(out), []verdict{}
	differ := 0
	check := guesttest.CrossCheck{Wasm: wasm, Config: []byte(o.config), Limits: limits, Next: o.next}
	err = check.Run(c.Context(), cli.LineReader(in), func(v guesttest.Verdict) error {
		if !v.Same() {
			differ++
		}

		all = append(all, verdictOf(v))
		switch a.Format {
		case "json":
			return nil
		case "jsonl":
			return enc.Encode(all[len(all)-1])
		case "name":
			if v.Same() {
				return nil
			}
			_, err := fmt.Fprintln(out, v.After)
			return err
		}

		_, err := fmt.Fprintln(out, verdictText(v))
		return err
	})

	if err == nil && a.Format == "json" {
		err = enc.Encode(struct {
			*abi.Report
			CrossCheck []verdict `json:"cross_check"`
		}{report, all})
	}

	if err = errors.Join(err, out.Flush()); err != nil {
		return err
	}
	if len(all) == 0 {
		return cli.Usagef("there were no events to compare")
	}
	if differ > 0 {
		return cli.ExitWith(api.ExitVerification, fmt.Errorf("%d of %d restores differ: the hooks do not carry all of the state", differ, len(all)))
	}

	return nil
}

func verdictOf(v guesttest.Verdict) verdict {
	out := verdict{After: v.After, Compared: v.Compared, Same: v.Same(), Event: v.Differs}
	if v.Differs != 0 {
		out.Memory, out.Hooks = answerOf(v.Memory), answerOf(v.Hooks)
	}
	if v.Failure != nil {
		out.Failure = v.Failure.Error()
	}
	return out
}

func verdictText(v guesttest.Verdict) string {
	at := fmt.Sprintf("restored after event %d", v.After)
	if v.After == 0 {
		at = "restored before the first event"
	}

	switch {
	case v.Failure != nil:
		return cli.OneLine(fmt.Sprintf("%s: FAILED %v", at, v.Failure))
	case v.Differs != 0:
		return fmt.Sprintf("%s: DIFFERS at event %d: captured memory answers %s; the hooks answer %s", at, v.Differs, answerText(v.Memory), answerText(v.Hooks))
	}

	return fmt.Sprintf("%s: same, %d compared", at, v.Compared)
}

// checkLimits compares the limits that a daemon is to have with one another, and with those
// of a node that was started without others.
func checkLimits(texts []string) error {
	own, err := daemon.ParseLimits(texts)
	if err != nil {
		return err
	}
	return own.FitOn(daemon.Limits{})
}
