package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"multihead/internal/config"
)

// terminal says whether there is a person to ask.
func (a *app) terminal() bool {
	in, ok := a.stdin.(*os.File)
	return ok && term.IsTerminal(int(in.Fd()))
}

// answerLimit bounds how long a question waits for its answer while the cluster is
// locked: nobody else may change anything meanwhile, and the agents recover nothing.
const answerLimit = 5 * time.Minute

// errUnanswered ends a question that has a limit.
var errUnanswered = errors.New("not answered in time")

type lockedKey struct{}

// whileLocked gives every question that is asked with ctx a limit.
func whileLocked(ctx context.Context) context.Context {
	return context.WithValue(ctx, lockedKey{}, true)
}

// limited is the context of one question: it ends in time where the cluster is locked,
// and the person is told so.
func (a *app) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	if ctx.Value(lockedKey{}) == nil {
		return ctx, func() {}
	}
	fmt.Fprintf(a.stderr, a.tr("The cluster is locked meanwhile: without an answer within %s nothing is done.\n"), answerLimit)
	return context.WithTimeoutCause(ctx, answerLimit, errUnanswered)
}

// typed asks for a word on the terminal. Without one there is nobody to ask, which
// otherwise says.
func (a *app) typed(ctx context.Context, question, otherwise string) (string, error) {
	if !a.terminal() {
		return "", usageError(errors.New(otherwise))
	}
	return a.answer(ctx, question)
}

// answer shows the question and reads a line. One that is not answered in time is not
// confirmed.
func (a *app) answer(ctx context.Context, question string) (string, error) {
	ctx, cancel := a.limited(ctx)
	defer cancel()
	fmt.Fprint(a.stderr, question)
	line, err := readLine(ctx, a.stdin)
	if errors.Is(err, errUnanswered) {
		fmt.Fprintln(a.stderr)
		return "", &exitError{exitFailed, errors.New(a.tr("not answered in time: nothing of this was done, and the cluster is not locked any more; run the command again"))}
	}
	return line, err
}

// ask waits for a person's yes.
func (a *app) ask(ctx context.Context, f upFlags) error {
	if f.yes {
		return nil
	}
	answer, err := a.typed(ctx, a.tr("Go on? [y/N] "), a.tr("nothing was changed: there is no terminal to ask on; say --yes to go on without asking"))
	if coded := (*exitError)(nil); errors.As(err, &coded) {
		return err
	}
	if answer = strings.ToLower(answer); err == nil && (answer == "y" || answer == "yes") {
		return nil
	}
	return &exitError{exitFailed, errors.New(a.tr("nothing was changed"))}
}

// typedCluster has a person type the cluster's name, unless --confirm has it.
func (a *app) typedCluster(ctx context.Context, confirm, name, question string) error {
	return a.typedClusterOr(ctx, confirm, name, question, fmt.Sprintf(a.tr("nothing was changed: there is no terminal to ask on; say --confirm %s"), name))
}

// typedClusterOr is typedCluster with words of its own where there is no terminal.
func (a *app) typedClusterOr(ctx context.Context, confirm, name, question, otherwise string) error {
	if confirm == "" {
		var err error
		if confirm, err = a.typed(ctx, question, otherwise); err != nil {
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
