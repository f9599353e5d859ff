package slurm

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/service"
)

func TestTheHeartbeatThatWasBeingReplacedIsPutBack(t *testing.T) {
	const old, newer = "0000000000000001", "0000000000000002"
	for name, tt := range map[string]struct {
		files map[string]string
		empty bool // the volume is not mounted there
		comes bool // a controller that lives writes it meanwhile
		from  string
		beats string // what is there in the end
	}{
		"it died before the new one was in its place": {files: map[string]string{"heartbeat.old": old, "heartbeat.new": newer}, from: "heartbeat.new", beats: newer},
		"it keeps the one before aside":               {files: map[string]string{"heartbeat.old": old, "heartbeat.new": "0"}, from: "heartbeat.old", beats: old},
		"half a new one alone is left":                {files: map[string]string{"heartbeat.new": "0"}},
		"nothing is left":                             {},
		"it is not the volume":                        {files: map[string]string{"heartbeat.new": newer}, empty: true},
		"it is there":                                 {files: map[string]string{"heartbeat": newer, "heartbeat.old": old}, beats: newer},
		"one that lives replaces it":                  {files: map[string]string{"heartbeat.new": old}, comes: true, beats: newer},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write := func(name, data string) {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
					t.Error(err)
				}
			}
			if !tt.empty {
				write(marker, "")
			}
			for name, data := range tt.files {
				write(name, data)
			}
			if tt.comes {
				time.AfterFunc(goneEvery/2, func() { write("heartbeat", newer) })
			}
			from, err := putBack(t.Context(), host.NewLocal("server2"), dir)
			if from != tt.from || err != nil {
				t.Errorf("from %q, %v", from, err)
			}
			if data, err := os.ReadFile(filepath.Join(dir, "heartbeat")); string(data) != tt.beats || err != nil && tt.beats != "" {
				t.Errorf("it is %q, %v", data, err)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, ".multihead-beat*")); len(left) > 0 {
				t.Errorf("%q is left", left)
			}
		})
	}
}

func TestPuttingBackEndsWithItsTime(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if from, err := putBack(ctx, host.NewLocal("server2"), t.TempDir()); err == nil || from != "" {
		t.Errorf("%q, %v", from, err)
	}
}

func TestRecoverPutsBackAHeartbeatThatNoHeadFinds(t *testing.T) {
	state := func(controllers int) *State {
		c := &config.Cluster{}
		c.Slurm.MultiMaster.Enabled = true
		s := &State{cluster: c}
		for _, name := range []string{"h1", "h2", "h3"}[:controllers] {
			c.Nodes.Controllers = append(c.Nodes.Controllers, config.Controller{HostSpec: config.HostSpec{Hostname: name}, Services: config.Services{Slurm: true}})
			s.heads = append(s.heads, head{common: common{name: name, reached: true}, controller: true, listens: service.Yes, state: stateDir{path: "/s", data: service.Yes, torn: "heartbeat.new"}})
		}
		s.heads[0].reached = false
		return s
	}
	for name, tt := range map[string]struct {
		heads  int
		change func(*State)
		want   bool
	}{
		"the primary died and took it along": {3, func(*State) {}, true},
		"one head finds it":                  {3, func(s *State) { s.heads[2].state.beat = &heartbeat{} }, false},
		"the volume does not answer":         {3, func(s *State) { s.heads[1].state.data, s.heads[2].state.data = service.Unsure, service.Unsure }, false},
		"there never was one":                {3, func(s *State) { s.heads[1].state.torn, s.heads[2].state.torn = "", "" }, false},
		"nobody stands by":                   {3, func(s *State) { s.heads[1].listens, s.heads[2].listens = service.No, service.No }, false},
		"one controller alone writes none":   {1, func(s *State) { s.heads[0].reached = true }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := state(tt.heads)
			tt.change(s)
			ph, err := s.Recover(service.Intent{})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, st := range ph.Stages {
				for _, step := range st.Steps {
					got = append(got, step.ID+"@"+step.Host)
				}
			}
			if has := strings.Contains(strings.Join(got, " "), "slurm.heartbeat@h2"); has != tt.want {
				t.Errorf("%q", got)
			}
		})
	}
}
