package main

import "slices"

// result is what exploring found.
type result struct {
	states, transitions int
	violated            string   // empty when everything holds
	trace               []string // the shortest way there
}

// explore visits every state that can be reached, nearest first, and stops at
// the first that violates an invariant. When none does, it checks that from
// each of them one where all is settled can still be reached.
func explore(d defect) result {
	index := map[state]int32{initial(): 0}
	order := []state{initial()}
	from := []int32{-1}
	names := []string{""}
	var edges [][2]int32 // to, from
	trace := func(i int32) []string {
		var t []string
		for ; from[i] >= 0; i = from[i] {
			t = append(t, names[i])
		}
		slices.Reverse(t)
		return t
	}
	for at := int32(0); int(at) < len(order); at++ {
		s := order[at]
		if v := s.violated(d); v != "" {
			return result{len(order), len(edges), v, trace(at)}
		}
		for _, next := range s.steps(d) {
			i, known := index[next.to]
			if !known {
				i = int32(len(order))
				index[next.to] = i
				order = append(order, next.to)
				from, names = append(from, at), append(names, next.name)
			}
			edges = append(edges, [2]int32{i, at})
		}
	}
	r := result{states: len(order), transitions: len(edges)}
	slices.SortFunc(edges, func(a, b [2]int32) int { return int(a[0]) - int(b[0]) })
	first := make([]int32, len(order)+1) // of the edges into a state
	for _, e := range edges {
		first[e[0]+1]++
	}
	for i := range order {
		first[i+1] += first[i]
	}
	good := make([]bool, len(order))
	var todo []int32
	for i := range order {
		if order[i].settled(d) {
			good[i], todo = true, append(todo, int32(i))
		}
	}
	for len(todo) > 0 {
		i := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, e := range edges[first[i]:first[i+1]] {
			if !good[e[1]] {
				good[e[1]], todo = true, append(todo, e[1])
			}
		}
	}
	for i := range order {
		if !good[i] {
			r.violated, r.trace = "it can never settle", trace(int32(i))
			break
		}
	}
	return r
}
