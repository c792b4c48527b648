package project

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// ErrTools says that what a project's build needs is not on this machine.
var ErrTools = errors.New("the build needs what is not installed")

// toolsTime is how long a project's command Tools may take.
const toolsTime = 30 * time.Second

// Look runs the command of Tools in the project's folder. It returns by what the build
// is done, in a line, which is empty where the project has no such command. Where
// something is missing, the error is ErrTools with how to install it.
func (s *Settings) Look(ctx context.Context, dir string) (string, error) {
	if len(s.Tools) == 0 {
		return "", nil
	}

	ctx, cancel := context.WithTimeout(ctx, toolsTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.Tools[0], s.Tools[1:]...)
	var out, why bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = dir, &out, &why, time.Second
	err := cmd.Run()
	var exit *exec.ExitError

	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("%s: %w", strings.Join(s.Tools, " "), ctx.Err())
	case errors.As(err, &exit):
		return "", fmt.Errorf("%w: %s", ErrTools, strings.TrimSpace(why.String()))
	case err != nil:
		return "", fmt.Errorf("%w: %w", ErrTools, err)
	}

	line, _, _ := strings.Cut(strings.TrimSpace(out.String()), "\n")
	return line, nil
}
