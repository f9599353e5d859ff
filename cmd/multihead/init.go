package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"multihead/internal/config"
)

// newInitCmd writes a first cluster file.
func newInitCmd(a *app) *cobra.Command {
	var heads, computes, witnesses []string
	var vip, name, user string
	var stdout bool
	cmd := &cobra.Command{
		Use:   "init [FILE]",
		Short: "Write a commented cluster file to start from",
		Long:  "Writes a commented cluster file, with passwords made for it alone and mode 600. A file that\nis there already is left as it is. Without --head it has three heads at addresses to change.",
		Example: `  multihead init
  multihead init --name hpc --head server1=10.0.0.11 --head server2=10.0.0.12 --witness w1=10.0.0.19 --vip 10.0.0.10
  multihead init --stdout | less`,
		Args: func(cmd *cobra.Command, given []string) error {
			if err := cobra.MaximumNArgs(1)(cmd, given); err != nil {
				return usageError(err)
			}
			return nil
		},
		RunE: func(_ *cobra.Command, given []string) error {
			s, err := starter(name, user, vip, heads, computes, witnesses)
			if err != nil {
				return usageError(err)
			}
			text, err := s.Text()
			if err != nil {
				return usageError(err)
			}
			if stdout {
				_, err = a.stdout.Write(text)
				return err
			}
			path := clusterFiles()[0]
			if a.configPath != "" {
				path = a.configPath
			}
			if len(given) == 1 {
				path = given[0]
			}
			return a.writeStarter(path, text)
		},
	}
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "`name` of the cluster")
	f.StringVar(&user, "ssh-user", "root", "`login` on the hosts")
	f.StringVar(&vip, "vip", "", "virtual `address`, with the prefix length if it is not 24: 10.0.0.10/16")
	f.StringArrayVar(&heads, "head", nil, "a head, as `NAME=ADDRESS`; once for each")
	f.StringArrayVar(&computes, "compute", nil, "a compute node, as `NAME=ADDRESS`")
	f.StringArrayVar(&witnesses, "witness", nil, "a witness, as `NAME=ADDRESS`")
	f.BoolVar(&stdout, "stdout", false, "print it and write no file")
	return cmd
}

func starter(name, user, vip string, heads, computes, witnesses []string) (config.Starter, error) {
	s := config.DefaultStarter()
	s.SSHUser = user
	s.Timezone = localTimezone(s.Timezone)
	if name != "" {
		s.ClusterName = name
	}
	var err error
	if len(heads) > 0 { // the placeholders stand for one site; do not mix them with a real one
		s.Computes, s.VIP = nil, netip.Addr{}
		if s.Heads, err = namedAddresses("--head", heads); err != nil {
			return s, err
		}
	}
	if len(computes) > 0 {
		if s.Computes, err = namedAddresses("--compute", computes); err != nil {
			return s, err
		}
	}
	if s.Witness, err = namedAddresses("--witness", witnesses); err != nil {
		return s, err
	}
	if vip == "" {
		return s, nil
	}
	if p, err := netip.ParsePrefix(vip); err == nil {
		s.VIP, s.Bits = p.Addr(), p.Bits()
		return s, nil
	}
	if s.VIP, err = netip.ParseAddr(vip); err != nil {
		return s, fmt.Errorf("--vip %s is not an address; write one such as 10.0.0.10 or 10.0.0.10/16", vip)
	}
	return s, nil
}

func namedAddresses(flag string, given []string) ([]config.NamedAddress, error) {
	var out []config.NamedAddress
	for _, g := range given {
		name, address, ok := strings.Cut(g, "=")
		a, err := netip.ParseAddr(address)
		if !ok || name == "" || err != nil {
			return nil, fmt.Errorf("%s %s: write NAME=ADDRESS, for example server1=10.0.0.11", flag, g)
		}
		out = append(out, config.NamedAddress{Name: name, Address: a})
	}
	return out, nil
}

// localTimezone is the zone of this machine, by the name of the file that
// /etc/localtime points to.
func localTimezone(fallback string) string {
	target, err := filepath.EvalSymlinks("/etc/localtime")
	if err != nil {
		return fallback
	}
	_, zone, ok := strings.Cut(target, "zoneinfo/")
	if !ok {
		return fallback
	}
	return zone
}

func (a *app) writeStarter(path string, text []byte) error {
	// O_EXCL: nothing that is there is ever written over.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return usageError(fmt.Errorf("%s is there already and was left as it is; name another file: multihead init FILE", path))
	} else if err != nil {
		return err
	}
	_, err = f.Write(text)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if a.quiet {
		return nil
	}
	fmt.Fprintf(a.stdout, "%s is written, with passwords made for it.\nNext: change names and addresses to your own, then: multihead config validate -f %s\n", path, path)
	return nil
}
