package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"multihead/internal/lab"
)

func (c *labCmd) image() *cobra.Command {
	var prune bool
	cmd := &cobra.Command{
		Use:   "image [IMAGE...]",
		Short: "Build images into the cache ahead of time; without a name, list the cache",
		Example: `  multihead lab image
  multihead lab image trixie bare
  multihead lab image --prune`,
		ValidArgs: lab.ImageNames(),
		RunE: func(cmd *cobra.Command, names []string) error {
			if len(names) > 0 {
				if err := lab.Ready(); err != nil {
					return err
				}
			}
			if err := c.buildImages(cmd.Context(), names, prune); err != nil {
				return err
			}
			return c.printImages()
		},
	}
	cmd.Flags().BoolVar(&prune, "prune", false, "remove images that no lab uses and this version no longer makes")
	return cmd
}

func (c *labCmd) buildImages(ctx context.Context, names []string, prune bool) error {
	p := c.progress()
	defer p.stop()
	for _, n := range names {
		if _, err := lab.BuildImage(ctx, n, p.event); err != nil {
			return err
		}
	}
	if prune {
		return lab.PruneImages(p.event)
	}
	return nil
}

func (c *labCmd) printImages() error {
	images, err := lab.Images()
	if err != nil {
		return err
	}
	t := c.table("IMAGE", "KEY", "MADE", "TOOK", "SIZE")
	for _, i := range images {
		t.AppendRow(table.Row{i.Name, i.Key, i.Made.Local().Format(time.RFC3339), i.Took.Round(time.Second), fmt.Sprintf("%d MB", i.Bytes>>20)})
	}
	t.Render()
	return nil
}

func (c *labCmd) setup() *cobra.Command {
	return &cobra.Command{
		Use:     "setup",
		Short:   "Install with apt-get the packages that the lab needs on this machine",
		Example: "  sudo multihead lab setup",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p := c.progress()
			defer p.stop()
			if err := lab.Setup(cmd.Context(), p.event); err != nil {
				return err
			}
			fmt.Fprintln(c.stdout, "This machine has what the lab needs.")
			return nil
		},
	}
}

func (c *labCmd) file() *cobra.Command {
	return &cobra.Command{
		Use:   "file PATH HOST...",
		Short: "Write a cluster file for some of the hosts, spares as heads",
		Example: `  multihead lab file grow.yaml 'server[1-2]' node001
  multihead --lab -f grow.yaml up --dry-run`,
		Args: atLeast(2, "give a path and hosts, for example: multihead lab file grow.yaml server1"),
		RunE: func(_ *cobra.Command, args []string) error {
			l, err := c.open()
			if err != nil {
				return err
			}
			hosts, err := hostArgs(args[1:])
			if err != nil {
				return err
			}
			return l.WriteClusterFile(args[0], lab.ClusterOptions{Hosts: hosts})
		},
	}
}
