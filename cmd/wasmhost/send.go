package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"wasmhost/wire/control"
)

func (a *app) send() *cobra.Command {
	var data, file, lines, key string
	c := &cobra.Command{
		Use:   "send DAEMON [-]",
		Short: "Send events to a daemon and print its outputs",
		Long: `Send one event (--data, -f, or - for standard input), or each line of a file as
one event, in order and pipelined (--lines FILE, or --lines - for standard
input). The command returns when the outputs are durable. With -o jsonl each
output is printed as soon as it is acknowledged; with -o json all of them at the
end. An event that the daemon fails on is told on standard error and does not
stop those after it.

With --id KEY the same command can be given again, after a crash of the node or
of the command, without anything being applied twice: what was applied before is
answered with the outputs recorded then. A daemon remembers the key until 65,536
other senders came after it and it was silent for 24 hours; the outputs, for the
last 65,536 events.`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			given := 0
			for _, f := range []string{"data", "file", "lines"} {
				if c.Flags().Changed(f) {
					given++
				}
			}
			stdin := len(args) == 2
			if stdin && args[1] != "-" {
				return usagef("the second argument is %q; it can only be -", args[1])
			}
			if stdin {
				given++
			}
			if given != 1 {
				return usagef("give one of --data TEXT, -f FILE, - and --lines FILE")
			}
			var from control.Numbered
			if c.Flags().Changed("id") {
				if key == "" {
					return usagef("--id is empty")
				}
				from = control.NumberedBy(key)
			}
			switch {
			case lines != "":
				return a.sendLines(c, args[0], lines, from)
			case stdin || file == "-":
				b, err := io.ReadAll(a.in)
				if err != nil {
					return err
				}
				return a.sendOne(c, args[0], b, from)
			case file != "":
				b, err := os.ReadFile(file)
				if err != nil {
					return err
				}
				return a.sendOne(c, args[0], b, from)
			}
			return a.sendOne(c, args[0], []byte(data), from)
		},
	}
	c.Flags().StringVar(&data, "data", "", "the event, as text")
	c.Flags().StringVarP(&file, "file", "f", "", "a file that is the event")
	c.Flags().StringVar(&lines, "lines", "", "a file whose lines are events; - is standard input")
	c.Flags().StringVar(&key, "id", "", "names the event, or the first of the lines: sent again under the same name it is applied once")
	return c
}

func (a *app) sendOne(c *cobra.Command, ref string, payload []byte, from control.Numbered) error {
	sent, err := a.client().SendNumbered(c.Context(), ref, from, payload)
	if err != nil {
		return err
	}
	if a.format == "json" {
		return json.NewEncoder(a.out).Encode(sent)
	}
	for _, o := range sent.Outputs {
		if err := a.printOutput(o); err != nil {
			return err
		}
	}
	return nil
}

// maxLine bounds one line: the largest event that any node takes.
const maxLine = 16 << 20

func (a *app) sendLines(c *cobra.Command, ref, path string, from control.Numbered) (err error) {
	in := a.in
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	scan := bufio.NewScanner(in)
	scan.Buffer(make([]byte, 64<<10), maxLine)
	next := func() ([]byte, error) {
		if scan.Scan() {
			return scan.Bytes(), nil
		}
		if scan.Err() != nil {
			return nil, scan.Err()
		}
		return nil, io.EOF
	}
	out := bufio.NewWriterSize(a.out, 64<<10)
	defer func() { err = errors.Join(err, out.Flush()) }()
	all := control.Sent{Outputs: []control.Output{}}
	enc := json.NewEncoder(out)
	events, failed := 0, 0
	var first *control.Problem
	err = a.client().SendAllNumbered(c.Context(), ref, from, next, func(s control.Sent) error {
		events++
		if s.Error != nil {
			if failed++; first == nil {
				first = s.Error
			}
			fmt.Fprintf(a.err, "event %d: %s (%s)\n", events, s.Error.Detail, s.Error.Code)
			return nil
		}
		for _, o := range s.Outputs {
			switch a.format {
			case "json":
				all.Outputs = append(all.Outputs, o)
			case "jsonl":
				if err := enc.Encode(o); err != nil {
					return err
				}
			default:
				b, err := payload(o)
				if err == nil {
					_, err = fmt.Fprintf(out, "%s\n", b)
				}
				if err != nil {
					return err
				}
			}
		}
		if a.format != "json" && len(s.Outputs) > 0 {
			return flushIdle(out, a.out)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if a.format == "json" {
		if err := enc.Encode(all); err != nil {
			return err
		}
	}
	if first != nil {
		if failed > 1 {
			return fmt.Errorf("%d of %d events failed; the first: %w", failed, events, first)
		}
		return first
	}
	return nil
}

// flushIdle lets a person, or a program at the other end of a pipe, see each
// output at once; a regular file is written in blocks.
func flushIdle(out *bufio.Writer, to io.Writer) error {
	if f, ok := to.(*os.File); ok {
		if st, err := f.Stat(); err == nil && st.Mode().IsRegular() {
			return nil
		}
	}
	return out.Flush()
}

func payload(o control.Output) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(o.Payload)
	if err != nil {
		return nil, fmt.Errorf("reading an output: %w", err)
	}
	return b, nil
}
