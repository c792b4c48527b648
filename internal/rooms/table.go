// Package rooms measures the packages of the repository: what they import, how large
// they are, and how they are set; and holds them against a table and caps.
package rooms

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"
)

// list says what each package may import, one package a line: its folder, then folders
// of ours and, by their import paths, others' that it may import; a name that ends with
// a slash and three dots stands for all below. "lines N" and "methods N" raise a cap.
//
//go:embed rooms.txt
var list string

// Caps of a package.
const (
	MaxLines   = 4000 // without tests
	MaxMethods = 40   // that one type exports
)

// Room is what the table says of one package.
type Room struct {
	Imports []string
	Lines   int // at most
	Methods int // that one type exports, at most
}

// Table returns the rooms by folder.
func Table() (map[string]Room, error) { return parse(list) }

func parse(list string) (map[string]Room, error) {
	rooms := make(map[string]Room)
	for n, line := range strings.Split(list, "\n") {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		dir := words[0]
		if _, ok := rooms[dir]; ok {
			return nil, fmt.Errorf("line %d: %s stands there twice", n+1, dir)
		}
		room := Room{Lines: MaxLines, Methods: MaxMethods}
		for i := 1; i < len(words); i++ {
			switch words[i] {
			case "lines", "methods":
				if i+1 == len(words) {
					return nil, fmt.Errorf("line %d: %s of what?", n+1, words[i])
				}
				most, err := strconv.Atoi(words[i+1])
				if err != nil {
					return nil, fmt.Errorf("line %d: %w", n+1, err)
				}
				if words[i] == "lines" {
					room.Lines = most
				} else {
					room.Methods = most
				}
				i++
			default:
				room.Imports = append(room.Imports, words[i])
			}
		}
		rooms[dir] = room
	}
	return rooms, nil
}

// may reports whether the room may import the package of that path.
func (r *Room) may(path string) bool {
	for _, allowed := range r.Imports {
		if path == allowed {
			return true
		}
		if above, all := strings.CutSuffix(allowed, "/..."); all && (path == above || strings.HasPrefix(path, above+"/")) {
			return true
		}
	}
	return false
}
