package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"multihead/internal/config"
)

// newConfigCmd is everything that looks at the cluster file and at no host.
func newConfigCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check, show and convert the cluster file; asks no host",
		Example: `  multihead config validate
  multihead config show                       # defaults filled in, secrets masked
  multihead config get network.vip.address
  multihead config controllers --service mariadb -o name
  multihead config convert -f my_cluster.yaml --write`,
	}
	cmd.AddCommand(
		newConfigValidateCmd(a),
		newConfigShowCmd(a),
		newConfigGetCmd(a),
		newConfigControllersCmd(a),
		newConfigVIPCmd(a),
		newConfigConvertCmd(a),
		newConfigSchemaCmd(a),
	)
	return cmd
}

// args makes a wrong number of arguments a usage error.
func args(check cobra.PositionalArgs, usage string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		if err := check(cmd, given); err != nil {
			return usageError(fmt.Errorf("%w; usage: multihead config %s", err, usage))
		}
		return nil
	}
}

func newConfigValidateCmd(a *app) *cobra.Command {
	var strict bool
	cmd := &cobra.Command{
		Use:   "validate [FILE]",
		Short: "Say everything that is wrong with the file, at once",
		Long:  "Says everything that is wrong with the file, each as file:line:column: key: what is wrong;\nwhat to write instead. Errors exit 78; warnings say what will happen and exit 0.",
		Example: `  multihead config validate
  multihead config validate my_cluster.yaml
  multihead config validate -o json | jq '.problems[].path'
  multihead config validate --strict          # in CI: a warning fails as well`,
		Args: args(cobra.MaximumNArgs(1), "validate [FILE]"),
	}
	format := formatFlag(cmd, "text", "table", "json")
	cmd.Flags().BoolVar(&strict, "strict", false, "let warnings fail as errors do")
	cmd.RunE = func(_ *cobra.Command, given []string) error {
		path, err := a.fileOrArgument(given)
		if err != nil {
			return err
		}
		return a.validate(path, *format, strict)
	}
	return cmd
}

// fileOrArgument is the file named as an argument, or else that of -f or of
// the search.
func (a *app) fileOrArgument(given []string) (string, error) {
	if len(given) == 0 {
		return a.findClusterFile()
	}
	if a.configPath != "" && a.configPath != given[0] {
		return "", usageError(fmt.Errorf("-f names %s and the argument %s; name one file", a.configPath, given[0]))
	}
	return given[0], nil
}

func (a *app) validate(path, format string, strict bool) error {
	c, problems, err := config.Load(path)
	var invalid *config.InvalidError
	if err != nil && !errors.As(err, &invalid) {
		return &exitError{exitConfig, err}
	}
	errs, warnings := len(problems.Errors()), len(problems.Warnings())
	valid := errs == 0 && !(strict && warnings > 0)
	switch format {
	case "json":
		if err := printProblemsJSON(a.stdout, path, valid, problems); err != nil {
			return err
		}
	case "table":
		printProblemsTable(a.stdout, problems)
	default:
		for _, p := range problems {
			fmt.Fprintln(a.stderr, p)
		}
	}
	if !valid {
		if format == "json" {
			return &exitError{exitConfig, nil}
		}
		return &exitError{exitConfig, fmt.Errorf("%s: %s, %s", path, counted(errs, "error"), counted(warnings, "warning"))}
	}
	if format != "json" && !a.quiet {
		fmt.Fprintf(a.stdout, "%s: valid: %s; %s\n", path, summary(c), counted(warnings, "warning"))
	}
	return nil
}

// summary is the cluster in one line.
func summary(c *config.Cluster) string {
	s := fmt.Sprintf("%s, %s", c.Info.ClusterName, counted(len(c.Nodes.Controllers), "head"))
	if n := len(c.AllComputes()); n > 0 {
		s += ", " + counted(n, "compute node")
	}
	if n := len(c.Witnesses); n > 0 {
		s += ", 1 witness"
		if n > 1 {
			s = strings.TrimSuffix(s, "1 witness") + fmt.Sprintf("%d witnesses", n)
		}
	}
	if vip := c.Network.VIP.Address; vip.IsValid() {
		s += ", virtual address " + vip.String()
	}
	return s
}

func printProblemsJSON(w io.Writer, path string, valid bool, problems config.Problems) error {
	type problem struct {
		Severity string `json:"severity"`
		File     string `json:"file"`
		Line     int    `json:"line"`
		Column   int    `json:"column"`
		Path     string `json:"path"`
		Problem  string `json:"problem"`
		Remedy   string `json:"remedy"`
	}
	out := struct {
		Version  int       `json:"version"`
		File     string    `json:"file"`
		Valid    bool      `json:"valid"`
		Problems []problem `json:"problems"`
	}{Version: 1, File: path, Valid: valid, Problems: []problem{}}
	for _, p := range problems {
		out.Problems = append(out.Problems, problem{
			p.Severity.String(), p.Pos.File, p.Pos.Line, p.Pos.Col, p.Path, p.What.String(), p.Fix.String(),
		})
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(out)
}

func printProblemsTable(w io.Writer, problems config.Problems) {
	if len(problems) == 0 {
		return
	}
	t := plainTable("", "LINE", "KEY", "WHAT IS WRONG", "WRITE INSTEAD")
	t.SetColumnConfigs([]table.ColumnConfig{
		{Number: 4, WidthMax: 50, WidthMaxEnforcer: text.WrapSoft},
		{Number: 5, WidthMax: 40, WidthMaxEnforcer: text.WrapSoft},
	})
	for _, p := range problems {
		t.AppendRow(table.Row{p.Severity, fmt.Sprintf("%d:%d", p.Pos.Line, p.Pos.Col), p.Path, p.What, p.Fix})
	}
	fmt.Fprintln(w, t.Render())
}

// plainTable has no frame: columns that a person reads and awk splits.
func plainTable(header ...any) table.Writer {
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	t.SetStyle(style)
	t.AppendHeader(header)
	return t
}

func newConfigShowCmd(a *app) *cobra.Command {
	var reveal bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print the whole file as it is understood: defaults filled in, secrets masked",
		Example: `  multihead config show
  multihead config show -o table              # with the line each value comes from
  multihead config show -o json | jq .redis`,
		Args: args(cobra.NoArgs, "show"),
	}
	format := formatFlag(cmd, "yaml", "json", "table")
	cmd.Flags().BoolVar(&reveal, "reveal", false, "print the secrets as well")
	cmd.RunE = func(*cobra.Command, []string) error {
		c, err := a.loadCluster()
		if err != nil {
			return err
		}
		return a.printView(c.Show(reveal), *format)
	}
	return cmd
}

func (a *app) printView(v config.View, format string) error {
	switch format {
	case "json":
		return v.JSON(a.stdout)
	case "table":
		t := plainTable("KEY", "VALUE", "FROM")
		for _, r := range v.Rows() {
			from := "default"
			if r.From.Line > 0 {
				from = fmt.Sprintf("line %d", r.From.Line)
			}
			t.AppendRow(table.Row{r.Path, r.Value, from})
		}
		fmt.Fprintln(a.stdout, t.Render())
		return nil
	}
	return v.YAML(a.stdout)
}

func newConfigGetCmd(a *app) *cobra.Command {
	var reveal bool
	cmd := &cobra.Command{
		Use:   "get PATH",
		Short: "Print one value",
		Long:  "Prints one value by its path in the file. An entry of a list is named by its number or its hostname.",
		Example: `  multihead config get network.vip.address
  multihead config get 'nodes.controllers[server2].priority'
  multihead config get slurm_config -o json
  multihead config get redis.cluster.password --reveal`,
		Args: args(cobra.ExactArgs(1), "get PATH"),
	}
	format := formatFlag(cmd, "yaml", "json", "table")
	cmd.Flags().BoolVar(&reveal, "reveal", false, "print the value even if it is a secret")
	cmd.RunE = func(cmd *cobra.Command, given []string) error {
		c, err := a.loadCluster()
		if err != nil {
			return err
		}
		v, err := c.Get(given[0], reveal)
		if errors.Is(err, config.ErrSecret) {
			return usageError(fmt.Errorf("%w and is not printed; add --reveal to print it", err))
		} else if err != nil {
			return usageError(err)
		}
		if s, ok := v.Scalar(); ok && !cmd.Flags().Changed("output") {
			fmt.Fprintln(a.stdout, s)
			return nil
		}
		return a.printView(v, *format)
	}
	return cmd
}

func newConfigSchemaCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the file, for editors",
		Long:  "Prints the JSON Schema (draft 2020-12) of the file. An editor with a YAML language server then\ncompletes the keys, explains them and marks mistakes while you type.",
		Example: `  multihead config schema > my_multihead_cluster.schema.json
  # and as the first line of the file:
  # yaml-language-server: $schema=./my_multihead_cluster.schema.json`,
		Args: args(cobra.NoArgs, "schema"),
		RunE: func(*cobra.Command, []string) error {
			schema, err := config.Schema()
			if err != nil {
				return err
			}
			_, err = a.stdout.Write(schema)
			return err
		},
	}
}

func newConfigConvertCmd(a *app) *cobra.Command {
	var write bool
	cmd := &cobra.Command{
		Use:   "convert [FILE]",
		Short: "Rewrite an older file in the present form, comments kept",
		Long:  "Rewrites an older file in the present form: nodes.controller becomes a list of one head, a list\ncontrollers at the top moves below nodes, older key names get their present ones. Comments and\neverything else stay as they are. Without --write the result goes to stdout.",
		Example: `  multihead config convert my_cluster.yaml > my_multihead_cluster.yaml
  multihead config convert my_cluster.yaml --write    # in place; the old one stays as my_cluster.yaml.bak`,
		Args: args(cobra.MaximumNArgs(1), "convert [FILE]"),
	}
	cmd.Flags().BoolVarP(&write, "write", "w", false, "change the file itself; the old one is kept with .bak at its end (and the time, where there is one)")
	cmd.RunE = func(_ *cobra.Command, given []string) error {
		path, err := a.fileOrArgument(given)
		if err != nil {
			return err
		}
		return a.convert(path, write)
	}
	return cmd
}

func (a *app) convert(path string, write bool) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return configError(path, fmt.Errorf("cluster file: %w", err))
	}
	out, changes, err := config.Convert(path, data)
	if err != nil {
		return configError(path, err)
	}
	if !a.quiet {
		for _, c := range changes {
			fmt.Fprintln(a.stderr, c)
		}
	}
	if !write {
		_, err = a.stdout.Write(out)
		return err
	}
	if len(changes) == 0 {
		fmt.Fprintf(a.stdout, "%s is in the present form; nothing was changed.\n", path)
		return nil
	}
	kept, err := config.Rewrite(path, out)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "%s is converted; the old one is %s\n", path, kept)
	return nil
}
