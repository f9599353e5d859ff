package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

func newDoctorCmd(a *app) *cobra.Command {
	var r reach
	cmd := &cobra.Command{
		Use:  "doctor",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.loadCluster()
			if err != nil {
				return err
			}
			begin := time.Now()
			r.lookOnly = true
			d, err := a.dialer(c, r)
			if err != nil {
				return err
			}
			fmt.Fprintln(a.stderr, "ready", time.Since(begin))
			specs := c.AllHosts()
			reached, failed, err := connector(d)(cmd.Context(), specs)
			if err != nil {
				return err
			}
			fmt.Fprintln(a.stderr, "connected", time.Since(begin))
			for _, s := range specs {
				if err := failed[s.Hostname]; err != nil {
					fmt.Fprintln(a.stdout, err)
					continue
				}
				out, err := reached[s.Hostname].Query(cmd.Context(), "uname", "-a")
				fmt.Fprintln(a.stdout, s.Hostname, out, err)
			}
			fmt.Fprintln(a.stderr, "asked", time.Since(begin))
			return nil
		},
	}
	r.flags(cmd)
	return cmd
}
