package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"multihead/internal/lab"
)

// labCmd carries what the lab verbs share.
type labCmd struct {
	*app
	name string
}

// newLabCmd adds the verb lab and, on root, the flag --lab that runs any
// other verb inside a lab's network.
func newLabCmd(a *app, root *cobra.Command) *cobra.Command {
	c := &labCmd{app: a}
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "Real hosts on this one machine, to try things on",
		Long:  "Real hosts on this one machine: Debian systems with their own systemd, address and disks,\njoined in a network that has no way out. They are reached over SSH like any other host.",
		Example: `  multihead lab up                                  # 4 heads
  multihead lab up --heads 4 --compute 2 --image bare
  multihead --lab status                            # any command, inside the lab
  multihead lab exec server2 -- systemctl status
  multihead lab power-off server1                   # no warning, no FIN, unsynced data lost
  multihead lab partition server1,server2 --from server3,server4
  multihead lab heal
  multihead lab down`,
		// The verbs of the lab stand outside it.
		PersistentPreRunE: func(*cobra.Command, []string) error { return nil },
	}
	cmd.PersistentFlags().StringVar(&c.name, "name", lab.DefaultName, "the lab's `name`; labs of different names run side by side")
	cmd.AddCommand(c.up(), c.down(), c.list(), c.status(), c.exec(), c.shell(),
		c.powerOff(), c.powerOn(), c.freeze(), c.thaw(),
		c.partition(), c.loss(), c.heal(), c.disk(),
		c.snapshot(), c.reset(), c.forward(), c.file(), c.image(), c.setup(), c.fence(), c.fenceDevice())
	addLabFlag(a, root)
	return cmd
}

func (c *labCmd) up() *cobra.Command {
	var spec lab.Spec
	var data, system, login string
	var variants []string
	var fencing bool
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Make the hosts and wait until they answer; complete a lab that is there",
		Example: `  multihead lab up
  multihead lab up --heads 2 --witness 1 --image bookworm
  multihead lab up --heads 3 --login ops --host-login server2=admin --data 1G`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			spec.Name, spec.Login = c.name, lab.Login(login)
			var err error
			if spec.Data, err = lab.ParseSize(data); err != nil {
				return usageError(fmt.Errorf("--data: %w", err))
			}
			if spec.System, err = lab.ParseSize(system); err != nil {
				return usageError(fmt.Errorf("--system: %w", err))
			}
			if fencing {
				if spec.FenceTool, err = os.Executable(); err != nil {
					return err
				}
			}
			spec.Logins = map[string]lab.Login{}
			for _, v := range variants {
				host, l, ok := strings.Cut(v, "=")
				if !ok {
					return usageError(fmt.Errorf("--host-login %q: write HOST=LOGIN, for example server2=admin", v))
				}
				spec.Logins[host] = lab.Login(l)
			}
			return c.runUp(cmd.Context(), spec)
		},
	}
	f := cmd.Flags()
	f.IntVar(&spec.Heads, "heads", 4, "how many heads (server1 …)")
	f.IntVar(&spec.Compute, "compute", 0, "how many compute nodes (node001 …)")
	f.IntVar(&spec.Witness, "witness", 0, "how many witnesses (witness1 …)")
	f.IntVar(&spec.Spare, "spare", 0, "how many hosts that stand in no cluster file (spare1 …)")
	f.StringVar(&spec.Image, "image", lab.DefaultImage, strings.Join(lab.ImageNames(), ", ")+"; the bare ones have no services but a package repository")
	f.StringVar(&data, "data", "4G", "`size` of each host's /data")
	f.StringVar(&system, "system", "8G", "`size` of each host's system disk")
	f.StringVar(&login, "login", "root", "SSH `login` of the hosts: root, ops (sudo asks nothing), admin (sudo asks) or password (admin, no key)")
	f.BoolVar(&fencing, "fencing", false, "a power device that can switch hosts off, and the fence agent that asks it")
	f.StringArrayVar(&variants, "host-login", nil, "another login for one host, as `HOST=LOGIN`")
	return cmd
}

func (c *labCmd) runUp(ctx context.Context, spec lab.Spec) error {
	if err := spec.Check(); err != nil {
		return usageError(err)
	}
	p := c.progress()
	l, err := lab.Up(ctx, spec, p.event)
	p.stop()
	if err != nil {
		return err
	}
	if err := c.printStatus(l); err != nil {
		return err
	}
	at := ""
	if l.Spec.Name != lab.DefaultName {
		at = "=" + l.Spec.Name
	}
	fmt.Fprintf(c.stdout, "\nThe cluster file: %s\n", l.ClusterFile())
	fmt.Fprintf(c.stdout, "What next:\n  multihead --lab%s up --dry-run\n  multihead lab exec%s %s -- hostname\n  multihead lab down%s\n",
		at, c.nameFlag(), l.Hosts()[0].Name, c.nameFlag())
	return nil
}

// nameFlag is the --name to be typed again in commands we suggest.
func (c *labCmd) nameFlag() string {
	if c.name == lab.DefaultName {
		return ""
	}
	return " --name " + c.name
}

func (c *labCmd) down() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Remove the lab with everything that belongs to it, also after a crash",
		Example: `  multihead lab down
  multihead lab down --name other
  multihead lab down --all`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			names := []string{c.name}
			if all {
				var err error
				if names, err = lab.Names(); err != nil {
					return err
				}
			}
			p := c.progress()
			defer p.stop()
			var errs []error
			for _, n := range names {
				errs = append(errs, lab.Down(cmd.Context(), n, p.event))
			}
			return errors.Join(errs...)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "every lab on this machine")
	return cmd
}

func (c *labCmd) list() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the labs on this machine",
		Example: "  multihead lab list",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			names, err := lab.Names()
			if err != nil {
				return err
			}
			t := c.table("LAB", "IMAGE", "HOSTS", "RUNNING", "CLUSTER FILE")
			for _, n := range names {
				l, err := lab.Open(n)
				if err != nil {
					t.AppendRow(table.Row{n, "?", "?", "?", "broken: multihead lab down --name " + n})
					continue
				}
				running := 0
				for _, h := range l.Hosts() {
					if s, err := h.State(); err == nil && s == lab.Running {
						running++
					}
				}
				t.AppendRow(table.Row{n, l.Spec.Image, len(l.Hosts()), running, l.ClusterFile()})
			}
			t.Render()
			return nil
		},
	}
}

func (c *labCmd) status() *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Short:   "Show what each host of the lab is doing",
		Example: "  multihead lab status --name other",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			l, err := c.open()
			if err != nil {
				return err
			}
			return c.printStatus(l)
		},
	}
}

func (c *labCmd) printStatus(l *lab.Lab) error {
	faults, err := l.Faults()
	if err != nil {
		return err
	}
	t := c.table("HOST", "KIND", "ADDRESS", "LOGIN", "STATE", "NETWORK")
	for _, h := range l.Hosts() {
		state, err := h.State()
		if err != nil {
			return err
		}
		t.AppendRow(table.Row{h.Name, h.Kind, h.Address, h.Login, state, networkOf(h.Name, faults)})
	}
	t.Render()
	return nil
}

// networkOf says what is wrong with a host's network.
func networkOf(host string, faults []lab.Fault) string {
	var wrong []string
	for _, f := range faults {
		if slices.Contains(f.Hosts, host) || slices.Contains(f.From, host) {
			wrong = append(wrong, f.String())
		}
	}
	return strings.Join(wrong, "; ")
}

// table makes a plain table on stdout.
func (c *labCmd) table(head ...any) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(c.stdout)
	t.SetStyle(table.StyleLight)
	t.Style().Options = table.OptionsNoBordersAndSeparators
	t.Style().Box.PaddingLeft = ""
	t.Style().Box.PaddingRight = "  "
	t.AppendHeader(head)
	return t
}

// progress tells on stderr what happens on the way.
func (c *labCmd) progress() *labProgress {
	w := c.stderr
	if c.quiet {
		w = io.Discard
	}
	return newLabProgress(w)
}
