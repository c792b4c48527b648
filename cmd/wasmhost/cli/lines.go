package cli

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"wasmhost.example/api"
	"wasmhost.example/host/daemon"
)

// PrintOutput writes one output: its bytes and a newline, or JSON.
func (a *App) PrintOutput(o api.Output) error {
	if a.Format == "json" || a.Format == "jsonl" {
		return json.NewEncoder(a.Out).Encode(o)
	}
	return WritePayload(a.Payloads(), o)
}

// maxLine bounds one line: the largest event that any node takes.
const maxLine = 16 << 20 // bytes of one line: the largest event that any node takes

// LineReader returns a function that returns the next line, until io.EOF.
func LineReader(in io.Reader) func() ([]byte, error) {
	scan, n := bufio.NewScanner(in), 0
	scan.Buffer(make([]byte, 64<<10), maxLine)
	return func() ([]byte, error) {
		n++
		switch {
		case scan.Scan():
			return scan.Bytes(), nil
		case errors.Is(scan.Err(), bufio.ErrTooLong):
			return nil, fmt.Errorf("%w: line %d has more than %d bytes; nothing from it on was sent", daemon.ErrTooLarge, n, maxLine)
		case scan.Err() != nil:
			return nil, scan.Err()
		}
		return nil, io.EOF
	}
}

// FlushIdle lets a person, or a program at the other end of a pipe, see each
// output at once; a regular file is written in blocks.
func FlushIdle(out *bufio.Writer, to io.Writer) error {
	if f, ok := Bare(to).(*os.File); ok {
		if st, err := f.Stat(); err == nil && st.Mode().IsRegular() {
			return nil
		}
	}
	return out.Flush()
}

// WritePayload writes one output's bytes and a newline.
func WritePayload(w io.Writer, o api.Output) error {
	b, err := base64.StdEncoding.DecodeString(o.Payload)
	if err != nil {
		return fmt.Errorf("reading an output: %w", err)
	}
	_, err = fmt.Fprintf(w, "%s\n", b)
	return err
}
