package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"multihead/internal/hostlist"
	"multihead/internal/lab"
)

func (c *labCmd) exec() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exec HOST [--] COMMAND [ARGUMENT...]",
		Short: "Run a command as root in a host, without SSH; its exit code is this one's",
		Example: `  multihead lab exec server1 -- systemctl --failed
  multihead lab exec server1 -- tee /data/x < file`,
		Args: atLeast(2, "name a host and a command, for example: multihead lab exec server1 -- hostname"),
		RunE: func(_ *cobra.Command, args []string) error {
			h, err := c.host(args[0])
			if err != nil {
				return err
			}
			argv := args[1:]
			if argv[0] == "--" {
				argv = argv[1:]
			}
			return h.Become(argv...)
		},
	}
	cmd.Flags().SetInterspersed(false) // flags after the host are the command's
	return cmd
}

func (c *labCmd) shell() *cobra.Command {
	return &cobra.Command{
		Use:     "shell HOST",
		Short:   "Open a root shell in a host, without SSH",
		Example: "  multihead lab shell server1",
		Args:    atLeast(1, "name a host, for example: multihead lab shell server1"),
		RunE: func(_ *cobra.Command, args []string) error {
			h, err := c.host(args[0])
			if err != nil {
				return err
			}
			return h.Become("bash", "-l")
		},
	}
}

// power makes one of the four verbs that act on hosts named as arguments.
func (c *labCmd) power(use, short, example string, do func(*lab.Lab, context.Context, ...string) error) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:     use + " HOST...",
		Short:   short,
		Example: example,
		RunE: func(cmd *cobra.Command, args []string) error {
			hosts, err := hostArgs(args)
			if err != nil {
				return err
			}
			if (len(hosts) == 0) != all {
				return usageError(errors.New("name the hosts, or give --all"))
			}
			l, err := c.open()
			if err != nil {
				return err
			}
			p := c.progress()
			defer p.stop()
			l.Watch(p.event)
			return do(l, cmd.Context(), hosts...)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all hosts of the lab")
	return cmd
}

func (c *labCmd) powerOff() *cobra.Command {
	return c.power("power-off", "Cut the power: no FIN, no RST, what was not synced is lost",
		"  multihead lab power-off server1\n  multihead lab power-off 'server[1-3]'", (*lab.Lab).PowerOff)
}

func (c *labCmd) powerOn() *cobra.Command {
	return c.power("power-on", "Boot hosts from their disks as they are",
		"  multihead lab power-on server1\n  multihead lab power-on --all", (*lab.Lab).PowerOn)
}

func (c *labCmd) freeze() *cobra.Command {
	return c.power("freeze", "Stop every process of a host where it stands; its connections stay open",
		"  multihead lab freeze server1", (*lab.Lab).Freeze)
}

func (c *labCmd) thaw() *cobra.Command {
	return c.power("thaw", "Let frozen hosts go on",
		"  multihead lab thaw server1", (*lab.Lab).Thaw)
}

func (c *labCmd) open() (*lab.Lab, error) { return lab.Open(c.name) }

func (c *labCmd) host(name string) (*lab.Host, error) {
	l, err := c.open()
	if err != nil {
		return nil, err
	}
	return l.Host(name)
}

// hostArgs expands arguments such as server1,server2 and server[1-3].
func hostArgs(args []string) ([]string, error) {
	var hosts []string
	for _, a := range args {
		more, err := hostlist.Expand(a)
		if err != nil {
			return nil, usageError(err)
		}
		hosts = append(hosts, more...)
	}
	return hosts, nil
}

func atLeast(n int, hint string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < n {
			return usageError(errors.New(hint))
		}
		return nil
	}
}
