package main

import (
	"bufio"
	"io"
	"strings"
	"testing"
	"time"
)

// TestUnendedTestIsPrinted has a package that died: what its running test had said is all
// that tells why.
func TestUnendedTestIsPrinted(t *testing.T) {
	in := strings.Join([]string{
		`{"Action":"run","Package":"p","Test":"TestQuick"}`,
		`{"Action":"output","Package":"p","Test":"TestQuick","Output":"quick said this\n"}`,
		`{"Action":"pass","Package":"p","Test":"TestQuick"}`,
		`{"Action":"run","Package":"p","Test":"TestStuck"}`,
		`{"Action":"output","Package":"p","Test":"TestStuck","Output":"panic: test timed out\n"}`,
		`{"Action":"run","Package":"q","Test":"TestOther"}`,
		`{"Action":"output","Package":"q","Test":"TestOther","Output":"other said this\n"}`,
		`{"Action":"output","Package":"p","Output":"FAIL p\n"}`,
		`{"Action":"fail","Package":"p","Elapsed":900}`,
		`{"Action":"pass","Package":"q","Test":"TestOther"}`,
	}, "\n")
	var out strings.Builder
	s := &summary{w: &out, packages: 2}
	if err := s.read(strings.NewReader(in), nil); err != nil || s.passed != 2 || s.failed != 1 {
		t.Errorf("%d passed, %d failed, %v", s.passed, s.failed, err)
	}
	if got := out.String(); !strings.Contains(got, "--- p TestStuck\npanic: test timed out\n") {
		t.Errorf("nothing of the stuck test in:\n%s", got)
	} else if strings.Contains(got, "this") {
		t.Errorf("tests that passed are printed:\n%s", got)
	}
}

// TestProgressIsPrintedWhileTestsRun has a package that takes long: each package is counted
// when it is done, and the test that takes long is named.
func TestProgressIsPrintedWhileTestsRun(t *testing.T) {
	in, write := io.Pipe()
	out, print := io.Pipe()
	tick := make(chan time.Time)
	begin := time.Unix(0, 0)
	s := &summary{w: print, packages: 2, clock: begin}
	read := make(chan error, 1)
	go func() { read <- s.read(in, tick) }()

	printed := bufio.NewScanner(out)
	says := func(lines string, want string) {
		t.Helper()
		wrote := make(chan error, 1)
		go func() {
			_, err := io.WriteString(write, lines)
			wrote <- err
		}()
		if !printed.Scan() || printed.Text() != want {
			t.Fatalf("it prints %q, want %q", printed.Text(), want)
		}
		if err := <-wrote; err != nil {
			t.Fatal(err)
		}
	}
	says(`{"Action":"run","Package":"p","Test":"TestQuick"}
{"Action":"pass","Package":"p","Test":"TestQuick"}
{"Action":"pass","Package":"p","Elapsed":1}
`, "1/2 pass  p (1.0s)")
	says(`{"Action":"run","Package":"q","Test":"TestLong"}
a line of the tool's own
`, "a line of the tool's own")
	tick <- begin.Add(patience - 1)
	tick <- begin.Add(patience)
	says("", "... q TestLong runs for 30s; 1 passed, 1 run")
	says(`{"Action":"pass","Package":"q","Test":"TestLong"}
{"Action":"pass","Package":"q","Elapsed":31}
`, "2/2 pass  q (31.0s)")
	if err := write.Close(); err != nil {
		t.Fatal(err)
	}
	if !printed.Scan() || printed.Text() != "2 passed, 0 failed, 0 skipped" {
		t.Errorf("it prints %q", printed.Text())
	}
	if err := <-read; err != nil {
		t.Error(err)
	}
}
