//go:build !linux

package serve

import (
	"os"
	"os/exec"
	"time"
)

func ownProgram() (string, error) { return os.Executable() }

// endWithParent does nothing: the program ends by itself when its input does.
func endWithParent(*exec.Cmd) {}

// resident knows nothing: the program watches itself.
func resident(int) int64 { return 0 }

func giveWay(time.Duration) {}

// usedCPU takes the time since the start: the program has one processor.
func usedCPU() time.Duration { return time.Since(started) }

var started = time.Now()
