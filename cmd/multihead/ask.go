package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"

	"multihead/internal/config"
)

// terminal says whether there is a person to ask.
func (a *app) terminal() bool {
	in, ok := a.stdin.(*os.File)
	return ok && term.IsTerminal(int(in.Fd()))
}

// typed asks for a word on the terminal. Without one there is nobody to ask, which
// otherwise says.
func (a *app) typed(question, otherwise string) (string, error) {
	if !a.terminal() {
		return "", usageError(errors.New(otherwise))
	}
	fmt.Fprint(a.stderr, question)
	line, err := bufio.NewReader(a.stdin).ReadString('\n')
	return strings.TrimSpace(line), err
}

// ask waits for a person's yes.
func (a *app) ask(f upFlags) error {
	if f.yes {
		return nil
	}
	answer, err := a.typed(a.tr("Go on? [y/N] "), a.tr("nothing was changed: there is no terminal to ask on; say --yes to go on without asking"))
	if coded := (*exitError)(nil); errors.As(err, &coded) {
		return err
	}
	if answer = strings.ToLower(answer); err == nil && (answer == "y" || answer == "yes") {
		return nil
	}
	return &exitError{exitFailed, errors.New(a.tr("nothing was changed"))}
}

// typedCluster has a person type the cluster's name, unless --confirm has it.
func (a *app) typedCluster(confirm, name, question string) error {
	return a.typedClusterOr(confirm, name, question, fmt.Sprintf(a.tr("nothing was changed: there is no terminal to ask on; say --confirm %s"), name))
}

// typedClusterOr is typedCluster with words of its own where there is no terminal.
func (a *app) typedClusterOr(confirm, name, question, otherwise string) error {
	if confirm == "" {
		var err error
		if confirm, err = a.typed(question, otherwise); err != nil {
			return err
		}
	}
	if strings.TrimSpace(confirm) != name {
		return usageError(fmt.Errorf(a.tr("nothing was changed: %q is not this cluster's name, which is %s"), confirm, name))
	}
	return nil
}

// confirms refuses a flag for the cluster's name that has another one.
func confirms(c *config.Cluster, flag, name string) error {
	if name != "" && name != c.Info.ClusterName {
		return usageError(fmt.Errorf("%s %s is not this cluster's name, which is %s", flag, name, c.Info.ClusterName))
	}
	return nil
}

// say tells a person how it went, unless they want to hear only what went wrong.
func (a *app) say(line string) {
	if !a.quiet {
		fmt.Fprintln(a.stdout, line)
	}
}
