package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"multihead/internal/host"
	"multihead/internal/host/rpc"
)

// newRPCCmd is the half of the tool that runs on each host, started by the
// other half over SSH. Nobody types it.
func newRPCCmd() *cobra.Command {
	var name, build string
	var readOnly, unlink bool
	cmd := &cobra.Command{
		Use:    "rpc",
		Short:  "Serve this host to a multihead at the other end of stdin and stdout",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return serveRPC(name, build, readOnly, unlink)
		},
	}
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "this host's `name` in the cluster file")
	f.StringVar(&build, "build", "", "exit 76 unless this is the `build` of the binary")
	f.BoolVar(&readOnly, "read-only", false, "refuse every change")
	f.BoolVar(&unlink, "unlink", false, "remove the binary's file first")
	return cmd
}

func serveRPC(name, build string, readOnly, unlink bool) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if unlink {
		// The kernel keeps the program while it runs; the disk is clean
		// from here on, however this process ends.
		if err := os.Remove(self); err != nil {
			return err
		}
	}
	mine, err := rpc.BuildID(rpc.Self)
	if err != nil {
		return err
	}
	if build != "" && build != mine {
		return &exitError{code: rpc.ExitOtherBuild}
	}
	if name == "" {
		if name, err = os.Hostname(); err != nil {
			return err
		}
	}
	// A hang-up of the terminal that sudo made, or writing to a reader that
	// has gone, must not cut off a change that is running: Serve ends by
	// itself when it is finished. (Handled, not ignored: children of ours
	// would inherit that.)
	hold := make(chan os.Signal, 16)
	signal.Notify(hold, syscall.SIGHUP, syscall.SIGPIPE, syscall.SIGINT)
	defer signal.Stop(hold)
	// A machine that shuts down asks with SIGTERM: nothing new is begun.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	err = rpc.Serve(ctx, stdio{}, host.NewLocal(name), rpc.ServerOptions{Version: version, Build: mine, ReadOnly: readOnly})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// stdio is standard input and output as one connection.
type stdio struct{}

func (stdio) Read(p []byte) (int, error)  { return os.Stdin.Read(p) }
func (stdio) Write(p []byte) (int, error) { return os.Stdout.Write(p) }
func (stdio) Close() error                { return errors.Join(os.Stdin.Close(), os.Stdout.Close()) }
