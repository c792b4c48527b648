//go:build wasip1

// Command wordcount counts the words of the lines it is sent. A word is a run
// of ASCII letters and digits, lower-cased. "?totals" emits "word count" lines
// sorted by word; "?lines" emits how many lines were counted.
package main

import (
	"bytes"
	"sort"
	"strconv"
	"strings"

	"wasmhost.example/guest-sdk/go"
	"wasmhost.example/guest-sdk/go/hooks"
)

type wordcount struct {
	lines uint64
	words map[string]uint64
}

func letter(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func (w *wordcount) Process(event sdk.Event) error {
	switch event.Text() {
	case "?totals":
		sdk.EmitText(w.totals())
		return nil
	case "?lines":
		sdk.EmitText(strconv.FormatUint(w.lines, 10))
		return nil
	}
	for line := event.Data; len(line) > 0; {
		n := 0
		for n < len(line) && letter(line[n]) {
			n++
		}
		if n > 0 {
			w.words[string(bytes.ToLower(line[:n]))]++
		}
		line = line[min(n+1, len(line)):]
	}
	w.lines++
	return nil
}

func (w *wordcount) totals() string {
	names := make([]string, 0, len(w.words))
	for word := range w.words {
		names = append(names, word)
	}
	sort.Strings(names)
	for i, word := range names {
		names[i] = word + " " + strconv.FormatUint(w.words[word], 10)
	}
	return strings.Join(names, "\n")
}

// Snapshot returns the number of lines, a newline, and what ?totals emits.
func (w *wordcount) Snapshot() ([]byte, error) {
	return []byte(strconv.FormatUint(w.lines, 10) + "\n" + w.totals()), nil
}

func (w *wordcount) Restore(state []byte) error {
	wrong := sdk.Fail(3, "malformed state")
	first, rest, ok := strings.Cut(string(state), "\n")
	lines, err := strconv.ParseUint(first, 10, 64)
	if !ok || err != nil {
		return wrong
	}
	words := make(map[string]uint64)
	for rest != "" {
		var entry string
		entry, rest, _ = strings.Cut(rest, "\n")
		word, text, ok := strings.Cut(entry, " ")
		count, err := strconv.ParseUint(text, 10, 64)
		if !ok || err != nil || word == "" || strings.ToLower(word) != word {
			return wrong
		}
		for i := range len(word) {
			if !letter(word[i]) {
				return wrong
			}
		}
		words[word] = count
	}
	w.lines, w.words = lines, words
	return nil
}

func init() { hooks.Register(&wordcount{words: make(map[string]uint64)}) }

func main() {}
