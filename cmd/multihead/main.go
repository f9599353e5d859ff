// Command multihead turns N head nodes of a Slurm cluster into one highly
// available cluster from one file, and keeps it so.
//
// The same static binary is the tool an administrator runs and, as
// "multihead rpc", the half that runs on each host at the other end of SSH:
// the two cannot be of different versions.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the linker: -ldflags "-X main.version=...".
var version = "dev"

func main() {
	os.Exit(run(os.Args[1:]))
}

// memoryGoal is the memory, in bytes, beyond which the runtime would rather
// collect garbage than grow: a look at 200 heads at once makes 60 MB of it, and
// the tool may be at work on a head that has better uses for its memory.
const memoryGoal = 80 << 20

// run is main without os.Exit, so that deferred calls run.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryGoal)
	}
	root := newRoot(newApp())
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if coded := (*exitError)(nil); errors.As(err, &coded) {
		err = coded
	}
	if err.Error() != "" {
		fmt.Fprintln(os.Stderr, "multihead:", err)
	}
	return exitCode(err)
}

// exitCode is how the tool ends after an error.
func exitCode(err error) int {
	var coded *exitError
	switch {
	case errors.As(err, &coded):
		return coded.code
	case wrongWords(err):
		return exitUsage
	}
	return exitFailed
}

// wrongWords tells cobra's own complaints about the command line, which are
// plain errors, from everything else.
func wrongWords(err error) bool {
	for _, beginning := range []string{"unknown command", "accepts ", "requires at least", "if any flags in the group", "at least one of the flags in the group"} {
		if strings.HasPrefix(err.Error(), beginning) {
			return true
		}
	}
	return false
}

// newRoot lists every verb once, in the order help shows them.
func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:           "multihead",
		Short:         "N head nodes of a Slurm cluster as one highly available cluster, from one file",
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError(err) })
	a.globalFlags(root)
	root.AddCommand(
		newUpCmd(a),
		newPlanCmd(a),
		newDiscoverCmd(a),
		newStatusCmd(a),
		newEventsCmd(a),
		newRunsCmd(a),
		newBundleCmd(a),
		newDownCmd(a),
		newRecoverCmd(a),
		newMaintenanceCmd(a),
		newUpgradeCmd(a),
		newNodeCmd(a),
		newRotateCmd(a),
		newBackupCmd(a),
		newRestoreCmd(a),
		newBackupWorkCmd(),
		newInitCmd(a),
		newConfigCmd(a),
		newDrillCmd(a),
		newLabCmd(a, root),
		newDoctorCmd(a),
		newFenceCmd(a),
		newAgentCmd(a),
		newRPCCmd(),
		newDrillWorkerCmd(),
		newDocsCmd(root),
	)
	root.InitDefaultCompletionCmd()
	helpKnowsItsTopics(root)
	commandGroups(root)
	root.SetUsageTemplate(usageTemplate)
	a.translateHelp(root)
	return root
}

// helpKnowsItsTopics makes help of what is no command an error: cobra's own ends
// with 0.
func helpKnowsItsTopics(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	for _, c := range root.Commands() {
		if c.Name() != "help" {
			continue
		}
		help := c.Run
		c.Run, c.RunE = nil, func(cmd *cobra.Command, args []string) error {
			if _, _, err := root.Find(args); err != nil {
				return err
			}
			help(cmd, args)
			return nil
		}
	}
}

// usageTemplate is cobra's with the examples first: what people look for.
const usageTemplate = `{{if .HasExample}}Examples:
{{.Example}}

{{end}}Usage:{{if .Runnable}}
  {{.UseLine}}{{end}}{{if .HasAvailableSubCommands}}
  {{.CommandPath}} [command]

Commands:{{range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableInheritedFlags}}

Flags of every command:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableSubCommands}}

{{.CommandPath}} COMMAND --help says more about a command.{{end}}
`
