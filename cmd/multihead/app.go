package main

import (
	"io"
	"os"

	"github.com/spf13/cobra"
)

// app carries what every verb needs: the global flags and the streams.
// stdout is the result, stderr is everything said about it.
type app struct {
	configPath string // -f: the cluster file; empty means search
	verbose    bool
	quiet      bool
	lang       string
	color      string

	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
}

func newApp() *app {
	return &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
}

func (a *app) globalFlags(root *cobra.Command) {
	f := root.PersistentFlags()
	f.StringVarP(&a.configPath, "config", "f", "", "the cluster `file` (default ./my_multihead_cluster.yaml, then /etc/multihead/)")
	f.BoolVarP(&a.verbose, "verbose", "v", false, "say more, with the native commands used")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "say only what went wrong")
	a.color = "auto"
	f.Var(choice{&a.color, []string{"auto", "always", "never"}}, "color", "colour: auto, always or never")
	f.Var(choice{&a.lang, []string{"en", "ko"}}, "lang", "language of explanations: en or ko (default from the locale)")
}

// stateVariable names the directory of the records of runs, over the usual
// place: a lab's runs are kept with the lab.
const stateVariable = "MULTIHEAD_STATE_DIR"
