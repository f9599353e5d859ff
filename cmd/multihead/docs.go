package main

import (
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// newDocsCmd makes the man pages from the commands themselves, so that the two
// cannot differ. It is for packagers and therefore hidden.
func newDocsCmd(root *cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "docs DIR",
		Short:   "Write the man pages into a directory",
		Example: "  multihead docs dist/man",
		Args:    cobra.MatchAll(atLeast(1, "name a directory, for example: multihead docs dist/man"), cobra.MaximumNArgs(1)),
		Hidden:  true,
		RunE: func(_ *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			root.DisableAutoGenTag = true
			return doc.GenManTree(root, &doc.GenManHeader{Title: "MULTIHEAD", Section: "8", Source: "multihead " + version, Manual: "multihead"}, args[0])
		},
	}
	return cmd
}
