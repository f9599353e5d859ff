package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// choice is a flag that takes one of a few words. Any other word is an error of
// the command line, so that nothing is asked of a host for an answer that
// cannot be printed.
type choice struct {
	value *string
	words []string
}

func (c choice) String() string {
	if c.value == nil {
		return ""
	}
	return *c.value
}

func (c choice) Set(word string) error {
	if !slices.Contains(c.words, word) {
		return fmt.Errorf("write %s", alternatives(c.words))
	}
	*c.value = word
	return nil
}

// Type is what help shows in the place of the word.
func (choice) Type() string { return "string" }

// alternatives is "table, wide or json".
func alternatives(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// formatFlag adds -o with the formats a verb has, the default first.
func formatFlag(cmd *cobra.Command, formats ...string) *string {
	format := formats[0]
	cmd.Flags().VarP(choice{&format, formats}, "output", "o", "how to print: "+alternatives(formats))
	return &format
}

// commandGroup makes a command that only has other commands say so when it is
// given a word that is none of them, and help where it is given nothing.
func commandGroup(cmd *cobra.Command) {
	cmd.SuggestionsMinimumDistance = 2
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		err := fmt.Errorf("%s has no command %q", cmd.Name(), args[0])
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			return usageError(fmt.Errorf("%w; did you mean: %s %s", err, cmd.CommandPath(), near[0]))
		}
		return usageError(fmt.Errorf("%w; see: %s --help", err, cmd.CommandPath()))
	}
}

// commandGroups does so for every group below cmd.
func commandGroups(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		if sub.HasSubCommands() && !sub.Runnable() {
			commandGroup(sub)
		}
		commandGroups(sub)
	}
}
