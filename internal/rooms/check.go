package rooms

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Check returns what of the packages is not as the table and the caps say, a sentence
// each.
func Check(table map[string]Room, packages []Package) (faults []string) {
	seen := make(map[string]bool)
	for i := range packages {
		p := &packages[i]
		seen[p.Dir] = true
		room, ok := table[p.Dir]
		if !ok {
			faults = append(faults, fmt.Sprintf("package %s is not in the table of rooms", p.Dir))
			continue
		}
		for _, path := range slices.Sorted(maps.Keys(p.Imports)) {
			if foreign(path, table) && !room.may(path) {
				faults = append(faults, fmt.Sprintf("%s/%s imports %s", p.Dir, p.Imports[path], path))
			}
		}
		if p.Lines > room.Lines {
			faults = append(faults, fmt.Sprintf("%s has %d lines, at most %d", p.Dir, p.Lines, room.Lines))
		}
		if p.Methods > room.Methods {
			faults = append(faults, fmt.Sprintf("%s.%s exports %d methods, at most %d", p.Dir, p.Type, p.Methods, room.Methods))
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(table)) {
		if !seen[dir] {
			faults = append(faults, fmt.Sprintf("the table of rooms has %s, which is not there", dir))
		}
	}
	return append(faults, Circles(table)...)
}

// foreign reports whether the path is of another package of ours, or of others: not of
// the standard library.
func foreign(path string, table map[string]Room) bool {
	_, ours := table[path]
	return ours || strings.Contains(strings.SplitN(path, "/", 2)[0], ".")
}

// Circles returns the ways on which a package of the table may import itself.
func Circles(table map[string]Room) (faults []string) {
	const walking, done = 1, 2
	state := make(map[string]int)
	var walk func(dir string, way []string)
	walk = func(dir string, way []string) {
		way = append(way, dir)
		switch state[dir] {
		case done:
			return
		case walking:
			faults = append(faults, "the table has a circle: "+strings.Join(way[slices.Index(way, dir):], " imports "))
			return
		}
		state[dir] = walking
		for _, to := range table[dir].Imports {
			if _, ours := table[to]; ours {
				walk(to, way)
			}
		}
		state[dir] = done
	}
	for _, dir := range slices.Sorted(maps.Keys(table)) {
		walk(dir, nil)
	}
	return faults
}
