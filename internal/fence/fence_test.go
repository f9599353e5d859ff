package fence

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"multihead/internal/config"
	"multihead/internal/host"
)

// bench is a machine with fence agents of the test's own: real programs, run as
// the distribution's are.
type bench struct {
	host.Host
	dir string
}

func newBench(t *testing.T) *bench { return &bench{host.NewLocal("s1"), t.TempDir()} }

// Run finds the agents in the test's directory.
func (b *bench) Run(ctx context.Context, cmd host.Cmd) (string, error) {
	cmd.Argv = append([]string{filepath.Join(b.dir, cmd.Argv[0])}, cmd.Argv[1:]...)
	cmd.Env = append(cmd.Env, "BENCH="+b.dir)
	return b.Host.Run(ctx, cmd)
}

// agent installs a program that reads its options into variables and then does
// what body says.
func (b *bench) agent(t *testing.T, name, body string) {
	t.Helper()
	script := "#!/bin/bash\nwhile IFS='=' read -r k v; do declare \"$k=$v\"; done\necho \"$action\" >>\"$BENCH/" + name + ".log\"\n" + body + "\n"
	// A child that another test forks meanwhile would have the file open for writing
	// until it is a program of its own, and this one could not be started.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) log(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(b.dir, name+".log"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(string(data)), " ")
}

const honest = `
state="$BENCH/$plug"
case $action in
off) echo off >"$state"; echo "Success: Powered OFF";;
status) if [ -e "$state" ]; then echo "Status: OFF"; exit 2; fi; echo "Status: ON";;
*) exit 1;;
esac`

func device(agent string) config.FenceDevice {
	return config.FenceDevice{Node: "s2", Agent: agent, Options: config.FenceOptions{
		"plug": config.NewSecret("s2"), "password": config.NewSecret("hunter2horse"),
	}}
}

func quick() Limits {
	return Limits{Status: 300 * time.Millisecond, Off: 300 * time.Millisecond, Pause: time.Millisecond}
}

// patient is for agents that are to answer, on a machine that may be busy.
func patient() Limits {
	return Limits{Status: 20 * time.Second, Off: 20 * time.Second, Pause: time.Millisecond}
}

func TestWhatProvesThatAMachineIsOff(t *testing.T) {
	tests := []struct {
		name  string
		body  string
		lim   Limits
		ok    bool
		why   string // in the error
		asked string
	}{
		{"an honest one", honest, patient(), true, "", "off status status"},
		{"says off was done, and that it is on", `[ $action = off ] && echo "Success: Powered OFF" || echo "Status: ON"`, patient(), false, "still on", "off status"},
		{"is off once and on again", `[ $action = off ] && exit 0
			n=$(wc -l <"$BENCH/fence_x.log"); [ $n -le 2 ] && { echo "Status: OFF"; exit 2; }; echo "Status: ON"`, patient(), false, "still on", "off status status"},
		{"hangs on off", `[ $action = off ] && sleep 60; echo "Status: OFF"; exit 2`, quick(), false, "no answer within", "off"},
		{"ignores being asked to end", `trap '' TERM; [ $action = off ] && { sleep 60 & wait; sleep 60; }`, quick(), false, "no answer within", "off"},
		{"fails", `echo "Unable to connect" >&2; exit 1`, patient(), false, "exit code 1: Unable to connect", "off"},
		{"off works and status fails", `[ $action = off ] && exit 0; exit 1`, patient(), false, "exit code 1", "off status"},
		{"exits oddly", `[ $action = off ] && exit 0; echo "Status: OFF"; exit 77`, patient(), false, "exit code 77", "off status"},
		{"exits with 2 for wrong options", `[ $action = off ] && exit 0; echo "Failed: You have to set login name" >&2; exit 2`, patient(), false, "exit code 2: Failed", "off status"},
		{"says off with the exit code of on", `[ $action = off ] && exit 0; echo "Status: OFF"; exit 0`, patient(), false, "exit code means on", "off status"},
		{"says on with the exit code of off", `[ $action = off ] && exit 0; echo "Status: ON"; exit 2`, patient(), false, "exit code 2", "off status"},
		{"says both", `[ $action = off ] && exit 0; echo "Status: OFF"; echo "Status: ON"; exit 2`, patient(), false, "at once", "off status"},
		{"says nothing", `exit 0`, patient(), false, "neither on nor off", "off status"},
		{"prints garbage", `[ $action = off ] && exit 0; head -c 4096 /dev/urandom; echo "the status: OFF"; exit 2`, patient(), false, "exit code 2", "off status"},
		{"dies by a signal", `kill -KILL $$`, patient(), false, "exit code 137", "off"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.agent(t, "fence_x", tt.body)
			p, err := Kill(t.Context(), b, []config.FenceDevice{device("fence_x")}, tt.lim)
			if (err == nil) != tt.ok {
				t.Fatalf("proof %v, error %v", p, err)
			}
			if tt.ok && (p.Host != "s2" || p.Agent != "fence_x" || p.When.IsZero() || !strings.Contains(p.How, "twice")) {
				t.Errorf("proof %+v", p)
			}
			if !tt.ok && !strings.Contains(err.Error(), tt.why) {
				t.Errorf("error %q, want %q in it", err, tt.why)
			}
			if got := b.log(t, "fence_x"); got != tt.asked {
				t.Errorf("asked %q, want %q", got, tt.asked)
			}
		})
	}
}

func TestSeveralDevicesAreTriedInOrder(t *testing.T) {
	b := newBench(t)
	b.agent(t, "fence_a", "exit 1")
	b.agent(t, "fence_b", honest)
	b.agent(t, "fence_c", honest)
	f := config.Fencing{Devices: []config.FenceDevice{device("fence_c"), device("fence_b"), device("fence_a"), {Node: "s3", Agent: "fence_a"}}, Order: []string{"fence_a", "fence_b"}}
	list := Devices(f, "s2")
	if len(list) != 3 || list[0].Agent != "fence_a" || list[1].Agent != "fence_b" || list[2].Agent != "fence_c" {
		t.Fatalf("order %v", list)
	}
	p, err := Kill(t.Context(), b, list, patient())
	if err != nil || p.Agent != "fence_b" {
		t.Errorf("%v %v", p, err)
	}
	if b.log(t, "fence_c") != "" {
		t.Error("a device was used after the proof")
	}
	if _, err := Kill(t.Context(), b, nil, patient()); !errors.Is(err, ErrNoDevice) {
		t.Errorf("no device: %v", err)
	}
}

func TestAnAgentThatIsNotThereProvesNothing(t *testing.T) {
	_, err := Kill(t.Context(), newBench(t), []config.FenceDevice{device("fence_nowhere")}, patient())
	var missing *NotInstalledError
	if err == nil || !strings.Contains(err.Error(), "not installed") {
		t.Errorf("%v", err)
	}
	if _, err := Status(t.Context(), newBench(t), device("fence_nowhere"), patient()); !errors.As(err, &missing) {
		t.Errorf("%v", err)
	}
}

// What an agent started is dead when its time is over.
func TestNothingOutlivesTheLimit(t *testing.T) {
	b := newBench(t)
	b.agent(t, "fence_x", `( trap '' TERM; while sleep 0.05; do date +%N >"$BENCH/lives"; done ) & sleep 60`)
	if _, err := Kill(t.Context(), b, []config.FenceDevice{device("fence_x")}, quick()); err == nil {
		t.Fatal("proof by an agent that hangs")
	}
	read := func() string {
		data, err := os.ReadFile(filepath.Join(b.dir, "lives"))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	was := read()
	time.Sleep(500 * time.Millisecond) // that nothing happens cannot be awaited
	if now := read(); now != was {
		t.Error("a child of the agent goes on")
	}
}

func TestPasswordsAreSeenNowhere(t *testing.T) {
	b := newBench(t)
	b.agent(t, "fence_x", `tr '\0' ' ' </proc/$$/cmdline >"$BENCH/argv"; env >"$BENCH/env"; echo "login with $password failed" >&2; exit 1`)
	_, err := Kill(t.Context(), b, []config.FenceDevice{device("fence_x")}, patient())
	if err == nil || strings.Contains(err.Error(), "hunter2horse") || !strings.Contains(err.Error(), "login with ******** failed") {
		t.Errorf("%v", err)
	}
	for _, f := range []string{"argv", "env"} {
		data, err := os.ReadFile(filepath.Join(b.dir, f))
		if err != nil || strings.Contains(string(data), "hunter2horse") {
			t.Errorf("%s: %v %s", f, err, data)
		}
	}
}

func TestOptionsThatAreNoOptions(t *testing.T) {
	for name, o := range map[string]config.FenceOptions{
		"a second action":  {"action": config.NewSecret("on")},
		"a line break":     {"plug": config.NewSecret("1\naction=on")},
		"a cycle":          {"method": config.NewSecret("cycle")},
		"a log of secrets": {"debug_file": config.NewSecret("/tmp/x")},
		"no name":          {"a=b": config.NewSecret("x")},
	} {
		d := config.FenceDevice{Node: "s2", Agent: "fence_x", Options: o}
		if _, err := Kill(t.Context(), newBench(t), []config.FenceDevice{d}, patient()); err == nil || strings.Contains(err.Error(), "installed") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, agent := range []string{"fence_scsi", "/bin/sh", "fence_x y", "sh"} {
		if err := (config.FenceDevice{Agent: agent}).Check(); err == nil {
			t.Errorf("%s is taken for a fence agent", agent)
		}
	}
}

func TestTheEndOfTheAskerEndsTheQuestion(t *testing.T) {
	b := newBench(t)
	b.agent(t, "fence_x", "sleep 60")
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := Kill(ctx, b, []config.FenceDevice{device("fence_x")}, patient()); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
