package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"

	"github.com/spf13/cobra"

	"multihead/internal/agent"
	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/service/agentd"
	"multihead/internal/service/all"
)

func newAgentCmd(a *app) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "The daemon on each head and witness; systemd starts it (multihead-agent.service)",
		Long: `Looks at the services of its own head every second, exchanges what it finds
with the agents of the other heads over mutual TLS, and tells keepalived whether
this head may hold the virtual address. A head that is out of touch with the
majority, or where more is broken than elsewhere, may not. When the agent dies,
nothing changes for anybody.

Up installs it. It reads ` + agentd.ConfigFile + `.`,
		Example: `  systemctl status multihead-agent     how it is
  journalctl -u multihead-agent        what it saw, and did`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, problems, err := config.Load(agentd.ConfigFile)
			if err != nil {
				return fmt.Errorf("what the agent reads: %w; multihead up writes it", err)
			}
			if name == "" {
				if name, err = os.Hostname(); err != nil {
					return err
				}
			}
			level := slog.LevelInfo
			if a.verbose {
				level = slog.LevelDebug
			}
			log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level, ReplaceAttr: noTime}))
			if n := len(problems); n > 0 {
				log.Debug("the cluster file has warnings", "count", n)
			}
			// It waits nearly all the time, and has the same head to itself as
			// the services: threads that wake each other are what it would cost.
			runtime.GOMAXPROCS(1)
			ag, err := agent.New(agent.Options{Name: name, Version: version, Cluster: c, Local: host.NewLocal(name), Services: all.Services(), Log: log})
			if err != nil {
				return err
			}
			return errors.Join(ag.Run(cmd.Context()))
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "this host's `name` in the cluster file (default its own)")
	return cmd
}

// noTime leaves the time to the journal, which has its own.
func noTime(groups []string, attr slog.Attr) slog.Attr {
	if len(groups) == 0 && attr.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return attr
}
