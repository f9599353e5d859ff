package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"multihead/internal/cluster"
	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/host/remote"
	"multihead/internal/lab"
)

// reach is how a verb reaches the cluster's hosts: the flags it has for that,
// and what it is allowed to do there.
type reach struct {
	acceptNew bool // --accept-new
	noInput   bool // nobody may be asked
	lookOnly  bool // the remote halves refuse every change
}

// flags adds the flags that every verb that reaches hosts has.
func (r *reach) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&r.acceptNew, "accept-new", false, "record the keys of hosts that were never seen, without asking")
}

// dialer is how the hosts of a cluster file are reached: with its password,
// its time limit and the known_hosts file beside it.
func (a *app) dialer(c *config.Cluster, r reach) (*remote.Dialer, error) {
	path, err := a.findClusterFile()
	if err != nil {
		return nil, err
	}
	var known []string
	if f := os.Getenv(lab.KnownHostsVariable); f != "" {
		known = append(known, f)
	}
	known = append(known, filepath.Join(filepath.Dir(path), "known_hosts"))
	opt := remote.Options{
		Timeout:    c.Clustering.AutoDiscovery.Timeout.Duration(),
		ReadOnly:   r.lookOnly,
		Version:    version,
		KnownHosts: known,
		AcceptNew:  r.acceptNew,
		Password:   c.Info.SSHPassword.Reveal(),
	}
	if a.verbose {
		opt.Log = slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if !r.noInput && a.terminal() {
		opt.ConfirmKeys = a.confirmKeys
		opt.AskSecret = a.askSecret
	}
	d, err := remote.New(opt)
	if err != nil {
		return nil, fmt.Errorf("reaching hosts: %w", err)
	}
	return d, nil
}

// target is a host of the cluster file as the dialer wants it.
func target(spec config.HostSpec) remote.Target {
	t := remote.Target{Name: spec.Hostname, Port: spec.SSHPort, User: spec.SSHUser, KeyFile: spec.SSHKeyPath}
	if spec.Address.IsValid() {
		t.Address = spec.Address.String()
	}
	return t
}

// connector reaches hosts for a cluster.View.
func connector(d *remote.Dialer) cluster.Connector {
	return func(ctx context.Context, specs []config.HostSpec) (map[string]host.Host, map[string]error, error) {
		targets := make([]remote.Target, len(specs))
		for i, s := range specs {
			targets[i] = target(s)
		}
		results, err := d.ConnectAll(ctx, targets)
		if err != nil {
			return nil, nil, err
		}
		reached, failed := map[string]host.Host{}, map[string]error{}
		for _, r := range results {
			if r.Err != nil {
				failed[r.Target.Name] = r.Err
				continue
			}
			reached[r.Target.Name] = r.Conn
		}
		return reached, failed, nil
	}
}

// confirmKeys shows the keys of all hosts that were never seen, and asks once.
func (a *app) confirmKeys(ctx context.Context, keys []remote.HostKey) (bool, error) {
	fmt.Fprintln(a.stderr, a.tr("These hosts were never seen before. Compare the fingerprints with those on their consoles"))
	fmt.Fprintln(a.stderr, "(ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub):")
	for _, k := range keys {
		fmt.Fprintf(a.stderr, "  %-16s %-22s %-20s %s\n", k.Host, k.Address, k.Type(), k.Fingerprint())
	}
	ctx, cancel := a.limited(ctx)
	defer cancel()
	fmt.Fprint(a.stderr, a.tr("Trust them and go on? [y/N] "))
	answer, err := readLine(ctx, a.stdin)
	if errors.Is(err, errUnanswered) {
		fmt.Fprintln(a.stderr)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return strings.EqualFold(answer, "y") || strings.EqualFold(answer, "yes"), nil
}

// askSecret reads a password from the terminal without showing it.
func (a *app) askSecret(ctx context.Context, question string) (string, error) {
	in, ok := a.stdin.(*os.File)
	if !ok {
		return "", errors.New("there is no terminal to ask on")
	}
	ctx, cancel := a.limited(ctx)
	defer cancel()
	fmt.Fprintf(a.stderr, "%s: ", question)
	before, err := term.GetState(int(in.Fd()))
	if err != nil {
		return "", err
	}
	type answer struct {
		text []byte
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		text, err := term.ReadPassword(int(in.Fd()))
		got <- answer{text, err}
	}()
	select {
	case g := <-got:
		fmt.Fprintln(a.stderr)
		return string(g.text), g.err
	case <-ctx.Done():
		// The reader stays blocked; the terminal must not stay mute.
		return "", errors.Join(context.Cause(ctx), term.Restore(int(in.Fd()), before))
	}
}

// readLine reads an answer that a person types.
func readLine(ctx context.Context, r io.Reader) (string, error) {
	type answer struct {
		text string
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		text, err := bufio.NewReader(r).ReadString('\n')
		got <- answer{strings.TrimSpace(text), err}
	}()
	select {
	case g := <-got:
		if errors.Is(g.err, io.EOF) {
			return g.text, nil
		}
		return g.text, g.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}
