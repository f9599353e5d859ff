package remote_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"multihead/internal/host"
	"multihead/internal/host/rpc"
)

// TestMain lets the test's own binary be the program that is streamed to a
// host and started there: called with "rpc", it is the remote half.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "rpc" {
		os.Exit(remoteHalf(os.Args[2:]))
	}
	if len(os.Args) > 1 && os.Args[1] == "victim" && victimHook != nil {
		os.Exit(victimHook(os.Args[2:]))
	}
	os.Exit(run(m))
}

var (
	// victimHook is the process that a test on the lab kills.
	victimHook func(args []string) int
	// run runs the tests: on the lab, inside its network.
	run = (*testing.M).Run
)

func remoteHalf(args []string) int {
	value := func(flag string) string {
		if i := slices.Index(args, flag); i >= 0 && i+1 < len(args) {
			return args[i+1]
		}
		return ""
	}
	build, err := rpc.BuildID(rpc.Self)
	if err == nil && slices.Contains(args, "--unlink") {
		var self string
		if self, err = os.Executable(); err == nil {
			err = os.Remove(self)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if want := value("--build"); want != "" && want != build {
		return rpc.ExitOtherBuild
	}
	opt := rpc.ServerOptions{Version: "test", Build: build, ReadOnly: slices.Contains(args, "--read-only")}
	if err := rpc.Serve(context.Background(), stdio{}, host.NewLocal(value("--name")), opt); err != nil {
		return 1
	}
	return 0
}

type stdio struct{}

func (stdio) Read(p []byte) (int, error)  { return os.Stdin.Read(p) }
func (stdio) Write(p []byte) (int, error) { return os.Stdout.Write(p) }
func (stdio) Close() error                { return errors.Join(os.Stdin.Close(), os.Stdout.Close()) }
