package main

import (
	"fmt"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"multihead/internal/lab"
)

func (c *labCmd) fence() *cobra.Command {
	return &cobra.Command{
		Use:   "fence MODE [HOST...]",
		Short: "Make the power device obey (ok), lie, hang or fail for hosts",
		Long: "How the lab's power device treats hosts, all of them where none is named.\n" +
			"ok: it switches off. lie: it says that it has, and does not. hang: it does not answer. fail: it says that it cannot.",
		Example: "  multihead lab fence lie server2\n  multihead lab fence ok",
		Args:    atLeast(1, "say how it is to behave, for example: multihead lab fence lie server2"),
		RunE: func(cmd *cobra.Command, args []string) error {
			hosts, err := hostArgs(args[1:])
			if err != nil {
				return err
			}
			return c.change(func(l *lab.Lab) error { return l.SetFence(cmd.Context(), lab.FenceMode(args[0]), hosts...) })
		},
		ValidArgs: lab.FenceModes(),
	}
}

// fenceDevice is the power device itself: lab up starts it.
func (c *labCmd) fenceDevice() *cobra.Command {
	return &cobra.Command{
		Use:    "fence-device",
		Short:  "The power device of a lab; lab up --fencing starts it",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT)
			defer stop()
			l, err := c.open()
			if err != nil {
				return err
			}
			l.Watch(func(e lab.Event) { fmt.Fprintln(c.stderr, strings.TrimSpace(e.Host+" "+e.Text)) })
			return l.ServeFence(ctx)
		},
	}
}
