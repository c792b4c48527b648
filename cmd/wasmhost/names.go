package main

import (
	"cmp"
	"context"
	"regexp"
	"strings"
	"time"

	"wasmhost.example/api"
)

// nodeNames is how long a command waits for the names of nodes that it prints.
const nodeNames = 2 * time.Second

// nodeName is the name of a node, for people: its id where it is not known, or where two
// nodes have the name.
func (a *App) nodeName(id string) string {
	if a.nodes == nil {
		a.nodes = make(map[string]string)
		ctx, cancel := context.WithTimeout(a.context(), nodeNames)
		defer cancel()
		list, err := a.client().Nodes().List(ctx)
		if err != nil {
			list = nil // who may not read them sees ids
		}
		alike := make(map[string]int)
		for _, n := range list {
			alike[n.Name]++
		}
		for _, n := range list {
			if alike[n.Name] == 1 {
				a.nodes[n.NodeID] = n.Name
			}
		}
	}
	return cmp.Or(a.nodes[id], id)
}

// nodeNamed are the names of nodes.
func (a *App) nodeNamed(ids []string) []string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = a.nodeName(id)
	}
	return names
}

// maxDaemonNames is how many daemons a command asks the names of.
const maxDaemonNames = 32

// daemonName is the name of a daemon, for people: its id, or origin, where it is not known.
func (a *App) daemonName(id string) string {
	if name, asked := a.daemons[id]; asked || id == "" || len(a.daemons) >= maxDaemonNames {
		return cmp.Or(name, id)
	}
	if a.daemons == nil {
		a.daemons = make(map[string]string)
	}
	ctx, cancel := context.WithTimeout(a.context(), nodeNames)
	defer cancel()
	d, err := a.client().Daemons().Get(ctx, id)
	if err != nil {
		d.Name = "" // it is gone, or nobody may see it
	}
	a.daemons[id] = d.Name
	return cmp.Or(d.Name, id)
}

// idText is what an id of a node, or the origin of a daemon, looks like in a text.
var idText = regexp.MustCompile(`\b[0-9a-f]{16}\b`)

// withNames puts the names of nodes and daemons in the place of their ids in what a node
// said. With -o wide, and where the node did not answer, the ids stay.
func (a *App) withNames(text string, code int) string {
	if a.wide || a.format != "table" || !a.asked.Load() || !idText.MatchString(text) {
		return text
	}
	switch code {
	case api.ExitUsage, api.ExitUnreachable, api.ExitTimeout, api.ExitInterrupted:
		return text
	}
	return idText.ReplaceAllStringFunc(text, func(id string) string {
		if name := a.nodeName(id); name != id {
			return name
		}
		return a.daemonName(id)
	})
}

func nodeState(n api.Node) string {
	switch {
	case n.Self:
		return "this node"
	case n.Online:
		return "connected"
	}
	return "not connected"
}

// groupRef is how a group is told from a daemon.
const groupRef = "group/"

// nodeChannel reads NODE/CHANNEL.
func nodeChannel(text string) (node, name string, err error) {
	node, name, ok := strings.Cut(text, "/")
	if !ok || node == "" || name == "" {
		return "", "", usagef("%q is not NODE/CHANNEL", text)
	}
	return node, name, nil
}
