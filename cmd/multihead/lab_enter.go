package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"multihead/internal/lab"
)

// addLabFlag adds --lab[=NAME] to root. Before the verb runs, the process
// replaces itself by itself inside the lab's network, with the lab's cluster
// file unless -f names another.
func addLabFlag(a *app, root *cobra.Command) {
	var name string
	root.PersistentFlags().StringVar(&name, "lab", "", "run inside the `lab` of this name (--lab alone: the one called lab)")
	root.PersistentFlags().Lookup("lab").NoOptDefVal = lab.DefaultName
	root.PersistentPreRunE = func(cmd *cobra.Command, args []string) error {
		if !cmd.Flags().Changed("lab") {
			return nil
		}
		if name == "" {
			return usageError(errors.New("--lab= needs the lab's name"))
		}
		return enterLab(a, name)
	}
}

// enterLab returns nil in the process that is inside already, and does not
// return at all in the one that is not, unless something is wrong.
func enterLab(a *app, name string) error {
	if os.Getenv(lab.EnterVariable) == name {
		return nil
	}
	l, err := lab.Open(name)
	if err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	args := []string{os.Args[0]}
	if a.configPath == "" {
		args = append(args, "--config="+l.ClusterFile())
	}
	args = append(args, os.Args[1:]...)
	env := []string{
		lab.EnterVariable + "=" + name,
		lab.KnownHostsVariable + "=" + l.KnownHosts(),
	}
	if os.Getenv(stateVariable) == "" {
		env = append(env, stateVariable+"="+filepath.Join(l.Path(), "state"))
	}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, lab.EnterVariable+"=") && !strings.HasPrefix(kv, lab.KnownHostsVariable+"=") {
			env = append(env, kv)
		}
	}
	return fmt.Errorf("--lab=%s: %w", name, l.Become(exe, args, env))
}
