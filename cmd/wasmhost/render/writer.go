package render

import "io"

// Writer writes the JSON values that are written to it in a format, each when it is
// whole. It is for one goroutine.
type Writer struct {
	to     io.Writer
	format Format
	lines  bool

	value  []byte // begun
	depth  int
	quoted bool
	escape bool
	count  int  // values written
	open   bool // the last value's text has no end of line
}

// NewWriter returns a writer to to. With lines each value ends a line, as of a command
// that follows what comes.
func NewWriter(to io.Writer, format Format, lines bool) *Writer {
	return &Writer{to: to, format: format, lines: lines}
}

// To is what w writes to.
func (w *Writer) To() io.Writer { return w.to }

// Write implements io.Writer.
func (w *Writer) Write(b []byte) (int, error) {
	for i, c := range b {
		if len(w.value) == 0 && (c == '\n' || c == ' ') {
			continue
		}

		whole := w.depth == 0 && !w.quoted && c == '\n' // of a number or a text
		if !whole {
			w.value = append(w.value, c)
			whole = w.step(c)
		}

		if !whole {
			continue
		}
		if err := w.flush(); err != nil {
			return i, err
		}
	}
	return len(b), nil
}

// step notes what c does, and reports whether an object or a list ends with it.
func (w *Writer) step(c byte) bool {
	switch {
	case w.escape:
		w.escape = false
	case w.quoted:
		w.escape, w.quoted = c == '\\', c != '"'
	case c == '"':
		w.quoted = true
	case c == '{' || c == '[':
		w.depth++
	case c == '}' || c == ']':
		w.depth--
		return w.depth == 0
	}
	return false
}

func (w *Writer) flush() error {
	out := &lastByte{to: w.to}
	split := w.format.split
	if split == "" && w.open {
		split = "\n"
	}

	if w.count > 0 && split != "" {
		if _, err := io.WriteString(out, split); err != nil {
			return err
		}
	}

	err := w.format.write(out, w.value)
	if err == nil && w.lines && out.last != 0 && out.last != '\n' {
		_, err = io.WriteString(out, "\n")
	}

	w.open = out.last != 0 && out.last != '\n'
	w.value, w.count = w.value[:0], w.count+1
	return err
}

// lastByte is a writer that remembers the last byte.
type lastByte struct {
	to   io.Writer
	last byte
}

// Write implements io.Writer.
func (l *lastByte) Write(b []byte) (int, error) {
	if len(b) > 0 {
		l.last = b[len(b)-1]
	}
	return l.to.Write(b)
}
