package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"multihead/internal/lab"
)

// change runs do on the lab with progress told on stderr.
func (c *labCmd) change(do func(*lab.Lab) error) error {
	l, err := c.open()
	if err != nil {
		return err
	}
	p := c.progress()
	defer p.stop()
	l.Watch(p.event)
	return do(l)
}

func (c *labCmd) partition() *cobra.Command {
	var from, only []string
	var oneWay bool
	cmd := &cobra.Command{
		Use:   "partition HOST...",
		Short: "Cut hosts off from others, both ways or one, all traffic or some",
		Example: `  multihead lab partition server1                        # from all other hosts
  multihead lab partition server1,server2 --from server3,server4
  multihead lab partition server1 --from server2 --one-way   # server2 does not hear server1
  multihead lab partition server1 --only storage
  multihead lab partition server1 --from outside         # only from this machine`,
		Args: atLeast(1, "name the hosts to cut off, for example: multihead lab partition server1"),
		RunE: func(cmd *cobra.Command, args []string) error {
			hosts, err := hostArgs(args)
			if err != nil {
				return err
			}
			others, err := hostArgs(from)
			if err != nil {
				return err
			}
			return c.change(func(l *lab.Lab) error {
				return l.Partition(cmd.Context(), lab.Fault{Hosts: hosts, From: others, OneWay: oneWay, Only: only})
			})
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&from, "from", nil, "the `hosts` of the other side (default all other hosts; outside: this machine)")
	f.BoolVar(&oneWay, "one-way", false, "drop only what the named hosts say to the others")
	f.StringSliceVar(&only, "only", nil, "only this `traffic`: "+strings.Join(lab.TrafficNames(), ", ")+", or tcp/PORT, udp/FROM-TO")
	return cmd
}

func (c *labCmd) loss() *cobra.Command {
	return &cobra.Command{
		Use:     "loss PERCENT HOST...",
		Short:   "Lose some of the frames to and from hosts, at random",
		Example: "  multihead lab loss 5 server1\n  multihead lab loss 0.5 'server[1-4]'",
		Args:    atLeast(2, "give a percentage and hosts, for example: multihead lab loss 5 server1"),
		RunE: func(cmd *cobra.Command, args []string) error {
			percent, err := strconv.ParseFloat(strings.TrimSuffix(args[0], "%"), 64)
			if err != nil || percent <= 0 {
				return usageError(fmt.Errorf("loss %q: a percentage above 0, for example 5", args[0]))
			}
			hosts, err := hostArgs(args[1:])
			if err != nil {
				return err
			}
			return c.change(func(l *lab.Lab) error { return l.Loss(cmd.Context(), percent, hosts...) })
		},
	}
}

func (c *labCmd) heal() *cobra.Command {
	return &cobra.Command{
		Use:     "heal [HOST...]",
		Short:   "End partitions and losses: all, or those that name a host",
		Example: "  multihead lab heal",
		RunE: func(cmd *cobra.Command, args []string) error {
			hosts, err := hostArgs(args)
			if err != nil {
				return err
			}
			return c.change(func(l *lab.Lab) error { return l.Heal(cmd.Context(), hosts...) })
		},
	}
}

func (c *labCmd) disk() *cobra.Command {
	var which, leave string
	cmd := &cobra.Command{
		Use:   "disk fill|free|hold|release|break HOST...",
		Short: "Make a disk full, hang, or turn read-only",
		Example: `  multihead lab disk fill server1                 # /data is full; disk free undoes it
  multihead lab disk fill server1 --of system --leave 10M
  multihead lab disk hold server1                 # every write waits; disk release undoes it
  multihead lab disk break server1                # read-only until power-off and power-on`,
		Args: atLeast(2, "say what and where, for example: multihead lab disk fill server1"),
		RunE: func(cmd *cobra.Command, args []string) error {
			hosts, err := hostArgs(args[1:])
			if err != nil {
				return err
			}
			bytes := int64(0)
			if leave != "0" {
				if bytes, err = lab.ParseSize(leave); err != nil {
					return usageError(fmt.Errorf("--leave: %w", err))
				}
			}
			return c.change(func(l *lab.Lab) error {
				var errs []error
				for _, name := range hosts {
					h, err := l.Host(name)
					if err == nil {
						err = diskFault(cmd.Context(), h, args[0], lab.Disk(which), bytes)
					}
					errs = append(errs, err)
				}
				return errors.Join(errs...)
			})
		},
	}
	cmd.Flags().StringVar(&which, "of", string(lab.Data), "which `disk`: data or system")
	cmd.Flags().StringVar(&leave, "leave", "0", "fill: the `size` to leave free")
	return cmd
}

func diskFault(ctx context.Context, h *lab.Host, what string, d lab.Disk, leave int64) error {
	switch what {
	case "fill":
		return h.FillDisk(d, leave)
	case "free":
		return h.FreeDisk(d)
	case "hold":
		return h.HoldDisk(d)
	case "release":
		return h.ReleaseDisk(d)
	case "break":
		return h.BreakDisk(ctx, d)
	default:
		return usageError(fmt.Errorf("%q: use fill, free, hold, release or break", what))
	}
}

func (c *labCmd) snapshot() *cobra.Command {
	return &cobra.Command{
		Use:     "snapshot NAME",
		Short:   "Keep the disks of all hosts as they are at this moment",
		Example: "  multihead lab snapshot formed\n  multihead lab reset --to formed --all",
		Args:    atLeast(1, "give the snapshot a name, for example: multihead lab snapshot formed"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.change(func(l *lab.Lab) error { return l.Snapshot(cmd.Context(), args[0]) })
		},
	}
}

func (c *labCmd) reset() *cobra.Command {
	var to string
	cmd := c.power("reset", "Bring hosts back to freshly installed, or to a snapshot, and boot them",
		"  multihead lab reset --all\n  multihead lab reset server2 --to formed",
		func(l *lab.Lab, ctx context.Context, hosts ...string) error { return l.Reset(ctx, to, hosts...) })
	cmd.Flags().StringVar(&to, "to", "", "the `snapshot` to go back to (default freshly installed)")
	return cmd
}

func (c *labCmd) forward() *cobra.Command {
	return &cobra.Command{
		Use:   "forward [PORT:]HOST:PORT...",
		Short: "Bring ports of the lab to this machine's 127.0.0.1, until Ctrl-C",
		Example: `  multihead lab forward vip:443                   # 127.0.0.1:443
  multihead lab forward 8443:vip:443 3307:server1:3306`,
		Args: atLeast(1, "say what to forward, for example: multihead lab forward 8443:vip:443"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT)
			defer stop()
			l, err := c.open()
			if err != nil {
				return err
			}
			l.Watch(func(e lab.Event) { fmt.Fprintln(c.stderr, e.Text) })
			return c.forwardAll(ctx, l, args)
		},
	}
}

// forwardAll listens on every port before it carries anything, so that a port
// that is taken is told at once.
func (c *labCmd) forwardAll(ctx context.Context, l *lab.Lab, args []string) error {
	type pair struct {
		ln     net.Listener
		target string
	}
	var pairs []pair
	defer func() {
		for _, p := range pairs {
			p.ln.Close()
		}
	}()
	for _, a := range args {
		target := a
		if strings.Count(a, ":") == 2 {
			_, target, _ = strings.Cut(a, ":")
		}
		address, err := l.Resolve(target)
		if err != nil {
			return usageError(err)
		}
		_, port, _ := net.SplitHostPort(address)
		if strings.Count(a, ":") == 2 {
			port, _, _ = strings.Cut(a, ":")
		}
		ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", port))
		if err != nil {
			return err
		}
		pairs = append(pairs, pair{ln, address})
		fmt.Fprintf(c.stdout, "%s -> %s\n", ln.Addr(), address)
	}
	var all sync.WaitGroup
	errs := make([]error, len(pairs))
	for i, p := range pairs {
		all.Go(func() { errs[i] = l.Forward(ctx, p.ln, p.target) })
	}
	all.Wait()
	return errors.Join(errs...)
}
