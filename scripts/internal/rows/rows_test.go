package main

import (
	"fmt"
	"go/parser"
	"go/token"
	"strings"
	"testing"
)

func TestRowsAreWhole(t *testing.T) {
	rows, err := parseRows(list)
	if err != nil {
		t.Fatal(err)
	}
	last := make(map[byte]int)
	for _, r := range rows {
		last[r.letter] = r.number
	}
	if fmt.Sprint(last) != fmt.Sprint(map[byte]int{'R': 68, 'M': 146, 'C': 43, 'I': 66, 'K': 34, 'F': 109}) {
		t.Errorf("the last rows are %v", last)
	}
	for _, bad := range []string{"R1x text", "R01", "R01 text // ", "R02 a\nR01 b", "R01 a\nR01 b", "X01 a"} {
		if _, err := parseRows(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestFindingIDs(t *testing.T) {
	const src = `package x
func TestM07_F12_Name(t *testing.T) { t.Run("M102, K01 to K03 words", nil); t.Run(name, nil) }
func TestR01_to_R03_R09(t *testing.T) {}
func TestNothing(t *testing.T) { other.Do("M1", nil) }
func helperM09() {}`
	f, err := parser.ParseFile(token.NewFileSet(), "x_test.go", src, 0)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, tt := range testsOf("d", f) {
		got = append(got, fmt.Sprint(tt, tt.ids))
	}
	const want = "d TestM07_F12_Name [M07 F12]; d TestM07_F12_Name/M102, K01 to K03 words [M102 K01 K02 K03]; d TestR01_to_R03_R09 [R01 R02 R03 R09]"
	if strings.Join(got, "; ") != want {
		t.Errorf("found %s", strings.Join(got, "; "))
	}
}

func TestReportSaysWhatIsWrong(t *testing.T) {
	rows, err := parseRows("R01 one\nR02 two // for a reason\nR03 three\nM01 four // none")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	problems := report(&out, rows, []test{{"d", "TestR01_R02_M09", []id{{'R', 1}, {'R', 2}, {'M', 9}}}})
	got := strings.Join(problems, "; ")
	const want = "d TestR01_R02_M09 names M09, and there is no such row; R02 is left out, and shown by d TestR01_R02_M09; R03 has no test: three"
	if got != want {
		t.Errorf("got %s", got)
	}
	if !strings.Contains(out.String(), "R01   one\n      d TestR01_R02_M09\n") || !strings.Contains(out.String(), "left out: none") {
		t.Error(out.String())
	}
}
