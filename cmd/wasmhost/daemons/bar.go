package daemons

import (
	"encoding/json"
	"fmt"

	"github.com/schollz/progressbar/v3"

	"wasmhost.example/api"
	"wasmhost.example/cmd/wasmhost/cli"
)

// moveShower shows how a migration goes: as lines, or on a terminal as a bar.
type moveShower struct {
	*cli.App
	bar   *progressbar.ProgressBar
	phase string
}

func (s *moveShower) step(st api.MigrationStep) {
	if s.Format == "jsonl" {
		if st.Round != nil || st.Phase != s.phase {
			_ = json.NewEncoder(s.Out).Encode(st) // a reader that is gone is found at the end
		}
		s.phase = st.Phase
		return
	}
	if cli.IsTerminal(s.Err) {
		s.draw(st)
	} else if r := st.Round; r != nil {
		fmt.Fprintln(s.Err, cli.RoundText(r))
	} else if st.Phase != s.phase {
		fmt.Fprintln(s.Err, st.Phase)
	}
	s.phase = st.Phase
}

// draw shows the bar. Its whole grows while it is not known.
func (s *moveShower) draw(st api.MigrationStep) {
	s.Spoke.Store(true)
	if s.bar == nil {
		s.bar = progressbar.NewOptions64(max(st.Whole, 1), progressbar.OptionSetWriter(cli.Bare(s.Err)), progressbar.OptionShowBytes(true),
			progressbar.OptionSetWidth(30), progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true))
	}
	if st.Phase != s.phase {
		s.bar.Describe(fmt.Sprintf("%-8s", cli.OneLine(st.Phase)))
	}
	if st.Whole > s.bar.GetMax64() {
		s.bar.ChangeMax64(st.Whole)
	}
	_ = s.bar.Set64(min(st.Done, s.bar.GetMax64()-1)) // at its end the bar would go; a terminal that is gone is found at the end
}

// clear takes the bar away.
func (s *moveShower) clear() {
	if s.bar != nil {
		_ = s.bar.Clear()
	}
}
