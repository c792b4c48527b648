package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"

	"wasmhost.example/internal/canon"
)

// pipeline posts what next returns, as frames, until it returns io.EOF, while fn
// gets the lines of the answer. fn calls enough when the node takes no more.
func pipeline[T any](ctx context.Context, c *Client, path string, header http.Header, next func() ([]byte, error), fn func(line T, enough func()) error) error {
	body, w := io.Pipe()
	read := make(chan error, 1) // why next ended
	go func() {
		err := frames(w, next)
		if err != io.EOF && !errors.Is(err, io.ErrClosedPipe) {
			read <- err
		}
		close(read)
		_ = w.Close() // what was read is sent to its end, and answered
	}()

	defer body.Close()
	res, err := c.do(ctx, "POST", path, body, header)
	if err != nil {
		return err
	}

	defer res.Close()
	enough := func() { _ = w.Close() } // never fails
	err = eachLine(ctx, c, res, func(line T) error { return fn(line, enough) })

	select {
	case readErr := <-read:
		if readErr != nil {
			return readErr
		}
	default: // next still waits for more
	}

	return err
}

// frames writes what next returns as frames until it returns io.EOF, which is
// then returned. What next delivers fast is gathered; it waits for nothing.
func frames(w io.Writer, next func() ([]byte, error)) error {
	var mu sync.Mutex
	buf := bufio.NewWriterSize(w, 64<<10)
	kick, stopped := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(stopped)
		for range kick {
			mu.Lock()
			err := buf.Flush()
			mu.Unlock()
			if err != nil { // the next write says the same
				return
			}
		}
	}()

	for {
		payload, err := next()
		mu.Lock()
		if err == nil {
			err = canon.WriteFrame(buf, payload)
		} else if flushErr := buf.Flush(); err == io.EOF && flushErr != nil {
			err = flushErr
		}
		mu.Unlock()
		if err != nil {
			close(kick)
			<-stopped
			return err
		}

		select {
		case kick <- struct{}{}:
		default:
		}
	}
}

// eachLine decodes the JSON lines that c is answered until the end.
func eachLine[T any](ctx context.Context, c *Client, r io.Reader, fn func(T) error) error {
	a := c.answer(r)
	most := a.left
	d := json.NewDecoder(bufio.NewReaderSize(a, 64<<10))

	for {
		a.left = most // of each line
		var v T
		if err := d.Decode(&v); err == io.EOF {
			return nil
		} else if err != nil {
			return readError(ctx, err)
		}

		if err := fn(v); err != nil {
			return err
		}
	}
}
