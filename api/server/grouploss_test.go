package server

import (
	"fmt"
	"slices"
	"testing"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/group"
	"wasmhost.example/host/registry"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
)

// standingTeam is a cluster of three nodes, the first of which keeps a group of one member
// that is on another, and has a standby in sync on the third.
func standingTeam(t *testing.T) (nodes []*clusterNode, client *client.Client, groups *group.Memory, owner *clusterNode) {
	t.Helper()
	mem := directory.NewMemory()
	for _, name := range []string{"a", "b", "c"} {
		n := serveClustered(t, name, mem)
		must[registry.KindInfo](t)(n.rt.Kinds().Push(ctx, "counter", counterModule(t)))
		nodes = append(nodes, n)
	}
	for _, n := range nodes {
		eventually(t, n.rt.Node().Holding)
		eventually(t, func() error {
			if peers := must[[]wire.PeerInfo](t)(n.mesh.Peers()); len(peers) != 2 {
				return fmt.Errorf("%d peers", len(peers))
			}
			return nil
		})
	}
	a := nodes[0]
	groups = &group.Memory{}
	if err := a.server.KeepGroups(groups); err != nil {
		t.Fatal(err)
	}
	client, _ = clientOf(t, a.server)
	made := must[api.Group](t)(client.Groups().Create(ctx, api.CreateGroup{Name: "v", Kind: "counter", Size: 1, Standbys: 1, Ack: "disk"})).Members[0]
	id := must[identity.EntityID](t)(identity.ParseEntityID(made.EntityID))
	owner = nodes[1]
	if made.NodeID != owner.mesh.Self().String() {
		must[*api.MigrationReport](t)(client.Migrate(ctx, made.EntityID, api.Migrate{To: "b"}, func(api.MigrationStep) {}))
	}
	eventually(t, func() error {
		e := must[directory.Entry](t)(must[*directory.Member](t)(a.rt.Cluster()).Read(ctx, id))
		if e.Owner != owner.mesh.Self() || len(e.Standbys) != 1 {
			return fmt.Errorf("%+v", e)
		}
		return nil
	})
	eventually(t, func() error { return teamIsWell(client, owner) })
	return nodes, client, groups, owner
}

// teamIsWell heals the group, and says what it still lacks. Where on is not nil, its member
// is to be there.
func teamIsWell(c *client.Client, on *clusterNode) error {
	g, err := c.Groups().Heal(ctx, "v", api.HealGroup{})
	if err == nil && (g.Healthy != g.Size || on != nil && g.Members[0].NodeID != on.mesh.Self().String()) {
		err = fmt.Errorf("%+v", g.Members)
	}
	return err
}

// A member whose node is lost is declared lost while its standby takes it over. One of the
// two wins, and the group is well again; an event with an id is not applied twice.
func TestAMemberIsLostWhileItsStandbyTakesOver(t *testing.T) {
	for name, again := range map[string]bool{"declared once": false, "declared until it is decided": true} {
		t.Run(name, func(t *testing.T) {
			_, client, _, owner := standingTeam(t)
			if sent := must[api.Sent](t)(client.Send(ctx, "group/v", "order-1", []byte("x"))); sent.Duplicate {
				t.Fatalf("%+v", sent)
			}
			before := must[api.Group](t)(client.Groups().Get(ctx, "v")).Members[0]

			owner.link.Set(false, false)
			if err := owner.end(); err != nil {
				t.Fatal(err)
			}
			eventually(t, func() error {
				_, err := client.Groups().Heal(ctx, "v", api.HealGroup{Lost: []int{0}})
				switch code := refusalOf(err); {
				case err == nil, code == "member-alive":
					return nil
				case code != "member-leased" && code != "unreachable":
					t.Errorf("declaring it lost: %v", err)
				}
				if !again {
					return nil
				}
				return err
			})
			eventually(t, func() error { return teamIsWell(client, nil) })

			after := must[api.Group](t)(client.Groups().Get(ctx, "v")).Members[0]
			got, err := client.Send(ctx, "group/v", "order-1", []byte("x"))
			switch remade := after.Epoch > before.Epoch+1<<19; {
			case remade && refusalOf(err) != "binding-gone":
				t.Errorf("it was made anew, and remembers nothing: want the repeat refused as binding-gone, got %+v, %v", got, err)
			case !remade && (err != nil || !got.Duplicate):
				t.Errorf("it was taken over, and remembers all: want a duplicate, got %+v, %v", got, err)
			}
		})
	}
}

// A member that is stored as lost, though a standby has taken it over, is made anew.
func TestALossThatIsStoredEndsWhatWasTakenOver(t *testing.T) {
	nodes, client, groups, owner := standingTeam(t)
	must[api.Sent](t)(client.Send(ctx, "group/v", "order-1", []byte("x")))
	all, err := groups.All()
	if err != nil {
		t.Fatal(err)
	}
	stored := all[0]
	member := &stored.Members[0]
	member.Epoch += 1 << 20
	member.Lost = append(member.Lost, nodes[2].mesh.Self())
	stored.Made++
	member.Born = stored.Made
	if err := groups.Put(stored); err != nil {
		t.Fatal(err)
	}
	if err := nodes[0].server.KeepGroups(groups); err != nil {
		t.Fatal(err)
	}

	eventually(t, func() error { return teamIsWell(client, nil) })
	after := must[api.Group](t)(client.Groups().Get(ctx, "v")).Members[0]
	if after.Epoch <= member.Epoch {
		t.Errorf("it has epoch %d, want one above %d", after.Epoch, member.Epoch)
	}
	var on []string
	for _, n := range nodes {
		for _, d := range n.rt.Daemons().List() {
			if d.Entity == member.Entity {
				on = append(on, fmt.Sprintf("%s: %d", n.mesh.Self(), d.Epoch))
			}
		}
	}
	if len(on) != 1 || !slices.Contains(on, fmt.Sprintf("%s: %d", after.NodeID, after.Epoch)) {
		t.Errorf("it is on %q, want on node %s at epoch %d; it was on %s", on, after.NodeID, after.Epoch, owner.mesh.Self())
	}
	if again, err := client.Send(ctx, "group/v", "order-1", []byte("x")); refusalOf(err) != "binding-gone" {
		t.Errorf("a repeat: want binding-gone, got %+v, %v", again, err)
	}
}
