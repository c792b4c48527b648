package lifecycle

import (
	"errors"
	"testing"
)

// Each thing that can stand in the way of a request does, and of two the one that is
// looked at first.
func TestAnswer(t *testing.T) {
	node, room, refused, gone := errors.New("node"), errors.New("room"), errors.New("refused"), errors.New("gone")
	for _, tc := range []struct {
		name string
		q    Question
		want Verdict
		err  error
	}{
		{"all is well", Question{State: Running}, Serve, nil},
		{"the node starts or ends", Question{Node: node, Room: room, Refused: refused, Gone: gone, State: Moved}, Refuse, node},
		{"the disk is full", Question{Room: room, Refused: refused, State: Running}, Refuse, room},
		{"the daemon is accused or held", Question{Refused: refused, Gone: gone, State: Failed}, Refuse, refused},
		{"held, while it migrates", Question{Refused: refused, State: Migrating}, Refuse, refused},
		{"it moved", Question{Gone: gone, State: Moved, Asleep: true, Holding: true}, Refuse, gone},
		{"it failed", Question{Gone: gone, State: Failed}, Refuse, gone},
		{"it diverged", Question{Gone: gone, State: Diverged}, Refuse, gone},
		{"it migrates", Question{State: Migrating, Asleep: true, Holding: true}, AwaitMigration, nil},
		{"it is passive", Question{State: Passive, Asleep: true, Holding: true}, AwaitMemory, nil},
		{"its memory is older than what is stored", Question{State: Running, Asleep: true}, AwaitMemory, nil},
		{"its cluster holds it", Question{State: Running, Holding: true}, AwaitCluster, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got, err := tc.q.Answer(); got != tc.want || err != tc.err {
				t.Errorf("%s, %v, want %s, %v", got, err, tc.want, tc.err)
			}
		})
	}
}
