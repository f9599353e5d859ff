package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"multihead/internal/backup"
)

// importFlags is what backup import is told.
type importFlags struct {
	backupFlags
	from, user, passwordFile, keyFile string
	here                              bool
}

func newBackupImportCmd(a *app) *cobra.Command {
	var f importFlags
	cmd := &cobra.Command{
		Use:   "import",
		Short: "Bring snapshots from another repository to a head: the off-site copies, onto a cluster formed anew",
		Long: `Copies the snapshots of another repository into that of one head, and reads the
newest back. Without --from it is the file's off-site target; with --here nothing
is copied, and the repository that was carried to the head is described.

The snapshots can be read with the password they were made with: put it into
` + backup.KeyFile + ` on one head before multihead up, or say --key-file.`,
		Example: `  multihead backup import                                  from the file's off-site target
  multihead backup import --from /mnt/usb/repository --node server1
  multihead backup import --here --node server1            /data/system_backup/repository was copied there`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.backupImport(cmd.Context(), f) },
	}
	f.reach.flags(cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.from, "from", "", "a `repository` as restic takes it: a directory on the head, sftp: or rest:")
	fl.StringVar(&f.user, "user", "", "for rest: who asks")
	fl.StringVar(&f.passwordFile, "password-file", "", "for rest: a `file` with the server's password, on this machine")
	fl.StringVar(&f.keyFile, "key-file", "", "a `file` with the repository's password, on this machine; the head's own key is taken without")
	fl.StringSliceVar(&f.nodes, "node", nil, "the `head` that gets them; the first of the file without")
	fl.BoolVar(&f.here, "here", false, "copy nothing: describe what lies in the head's own repository")
	fl.BoolVar(&f.dryRun, "dry-run", false, "show what would be done; change nothing")
	cmd.MarkFlagsMutuallyExclusive("from", "here")
	return cmd
}

// remote is the repository that is meant; nil for the head's own.
func (f importFlags) remote(file *backup.Remote) (*backup.Remote, error) {
	if f.here {
		return nil, nil
	}
	if f.from == "" {
		if file == nil {
			return nil, usageError(errors.New("the cluster file names no off-site target: say --from, or --here"))
		}
		file.Key = ""
	} else {
		file = &backup.Remote{Repository: f.from, User: f.user}
	}
	for _, s := range []struct {
		path string
		to   *string
	}{{f.passwordFile, &file.Password}, {f.keyFile, &file.Key}} {
		if s.path == "" {
			continue
		}
		data, err := os.ReadFile(s.path)
		if err != nil {
			return nil, err
		}
		*s.to = strings.TrimSpace(string(data))
	}
	return file, nil
}

func (a *app) backupImport(ctx context.Context, f importFlags) error {
	f.lookOnly = f.dryRun
	run, err := a.backupSession(ctx, f.backupFlags)
	if err != nil {
		return err
	}
	defer run.sess.close()
	from, err := f.remote(backup.RemoteOf(run.sess.file))
	if err != nil {
		return err
	}
	if err := checkHosts(run.sess.file, f.nodes); err != nil {
		return err
	}
	a.saySkipped(run)
	heads := names(run.reachedHeads())
	if len(f.nodes) > 0 {
		heads = f.nodes[:1]
	}
	if len(heads) == 0 || run.sess.view.Hosts[heads[0]] == nil {
		return &exitError{exitFailed, errors.New("the head that is to get them was not reached")}
	}
	root := run.sess.file.SharedStorage.Backup.Path
	var came backup.Result
	if err := a.carryBackup(ctx, run, backup.Import(root, heads[0], from, func(r backup.Result) { came = r }), true); err != nil || f.dryRun {
		return err
	}
	a.warnings(came.Warnings)
	if len(came.Names) == 0 {
		fmt.Fprintln(a.stdout, a.tr("Nothing came that was not there already."))
		return nil
	}
	newest := came.Names[len(came.Names)-1]
	if err := a.carryBackup(ctx, run, backup.Verify(root, map[string][]string{heads[0]: {newest}}, false), true); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, a.tr("%d snapshots came to %s; the newest, %s, was read back and is whole.\n"), len(came.Names), heads[0], newest)
	return nil
}
