package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"multihead/internal/backup"
	"multihead/internal/service/agentd"
)

// newBackupWorkCmd is what `backup` and `restore` have a head do. Nobody types
// it: what is to be done comes on standard input.
func newBackupWorkCmd() *cobra.Command {
	var offer, address, allow string
	var look bool
	cmd := &cobra.Command{
		Use:    "backup-work",
		Short:  "One piece of work of a backup or restore, as told on standard input",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if offer != "" {
				conf, err := backup.ServerTLS(agentd.PairFile, agentd.CAFile)
				if err != nil {
					return err
				}
				return backup.Offer(cmd.Context(), backup.Layout{Root: offer}.Repository(), address, strings.Split(allow, ","), conf,
					func() { _, _ = daemon.SdNotify(false, daemon.SdNotifyReady) })
			}
			data, err := io.ReadAll(cmd.InOrStdin())
			if err != nil {
				return err
			}
			var j backup.Job
			if err := json.Unmarshal(data, &j); err != nil {
				return errors.New("standard input is no job") // its content may be secret
			}
			w := backup.Worker{Key: backup.KeyFile, PKI: [2]string{agentd.PairFile, agentd.CAFile}, Clock: time.Now}
			do := w.Work
			if look {
				do = w.Looks
			}
			r, err := do(cmd.Context(), j)
			if err != nil {
				return err
			}
			out, err := json.Marshal(r)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), string(out))
			return err
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&offer, "offer", "", "serve the repository of this `directory` to other heads, to be read")
	fl.BoolVar(&look, "look", false, "only jobs that change nothing")
	fl.StringVar(&address, "address", "", "where to listen")
	fl.StringVar(&allow, "allow", "", "who may read")
	return cmd
}
