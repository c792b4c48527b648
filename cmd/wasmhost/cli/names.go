package cli

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

// NodeName is the name of a node, for people: its id where it is not known, or where two
// nodes have the name.
func (a *App) NodeName(id string) string {
	if a.Nodes == nil {
		a.Nodes = make(map[string]string)
		ctx, cancel := context.WithTimeout(a.context(), nodeNames)
		defer cancel()
		list, err := a.Client().Nodes().List(ctx)
		if err != nil {
			list = nil // who may not read them sees ids
		}
		alike := make(map[string]int)
		for _, n := range list {
			alike[n.Name]++
		}
		for _, n := range list {
			if alike[n.Name] == 1 {
				a.Nodes[n.NodeID] = n.Name
			}
		}
	}
	return cmp.Or(a.Nodes[id], id)
}

// NodeNamed are the names of nodes.
func (a *App) NodeNamed(ids []string) []string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = a.NodeName(id)
	}
	return names
}

// maxDaemonNames is how many daemons a command asks the names of.
const maxDaemonNames = 32

// DaemonName is the name of a daemon, for people: its id, or origin, where it is not known.
func (a *App) DaemonName(id string) string {
	if name, asked := a.daemons[id]; asked || id == "" || len(a.daemons) >= maxDaemonNames {
		return cmp.Or(name, id)
	}
	if a.daemons == nil {
		a.daemons = make(map[string]string)
	}
	ctx, cancel := context.WithTimeout(a.context(), nodeNames)
	defer cancel()
	d, err := a.Client().Daemons().Get(ctx, id)
	if err != nil {
		d.Name = "" // it is gone, or nobody may see it
	}
	a.daemons[id] = d.Name
	return cmp.Or(d.Name, id)
}

// idText is what an id of a node, or the origin of a daemon, looks like in a text.
var idText = regexp.MustCompile(`\b[0-9a-f]{16}\b`)

// WithNames puts the names of nodes and daemons in the place of their ids in what a node
// said. With -o wide, and where the node did not answer, the ids stay.
func (a *App) WithNames(text string, code int) string {
	if a.Wide || a.Format != "table" || !a.asked.Load() || !idText.MatchString(text) {
		return text
	}
	switch code {
	case api.ExitUsage, api.ExitUnreachable, api.ExitTimeout, api.ExitInterrupted:
		return text
	}
	return idText.ReplaceAllStringFunc(text, func(id string) string {
		if name := a.NodeName(id); name != id {
			return name
		}
		return a.DaemonName(id)
	})
}

// NodeState says for people whether a node is this one, or connected.
func NodeState(n api.Node) string {
	switch {
	case n.Self:
		return "this node"
	case n.Online:
		return "connected"
	}
	return "not connected"
}

// GroupRef is how a group is told from a daemon.
const GroupRef = "group/"

// NodeChannel reads NODE/CHANNEL.
func NodeChannel(text string) (node, name string, err error) {
	node, name, ok := strings.Cut(text, "/")
	if !ok || node == "" || name == "" {
		return "", "", Usagef("%q is not NODE/CHANNEL", text)
	}
	return node, name, nil
}
