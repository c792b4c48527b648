package main

import (
	"strings"
	"testing"
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
	passed, failed, err := summarise(strings.NewReader(in), &out)
	if err != nil || passed != 2 || failed != 1 {
		t.Errorf("%d passed, %d failed, %v", passed, failed, err)
	}
	if got := out.String(); !strings.Contains(got, "--- p TestStuck\npanic: test timed out\n") {
		t.Errorf("nothing of the stuck test in:\n%s", got)
	} else if strings.Contains(got, "this") {
		t.Errorf("tests that passed are printed:\n%s", got)
	}
}
