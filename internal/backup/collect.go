package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// configs writes down what the heads' configuration files hold.
func (w Worker) configs(_ context.Context, j Job) (Result, error) {
	for head, files := range j.Configs {
		if !clean(head) {
			return Result{}, fmt.Errorf("%q is no host name", head)
		}
		for p, data := range files {
			rel := strings.TrimPrefix(p, "/")
			if !clean(rel) {
				return Result{}, fmt.Errorf("%q is no path", p)
			}
			to := filepath.Join(Layout{j.Root}.Staging(), "configs", head, rel)
			if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
				return Result{}, err
			}
			if err := os.WriteFile(to, data, 0o600); err != nil {
				return Result{}, err
			}
		}
		if err := writeAttributes(Layout{j.Root}.Staging(), head, j.Attributes[head]); err != nil {
			return Result{}, err
		}
	}
	return Result{}, nil
}

// slurm copies the state directory as it is at this moment. slurmctld replaces
// its files in one step each, so that none is half written.
func (w Worker) slurm(ctx context.Context, j Job) (Result, error) {
	to := filepath.Join(Layout{j.Root}.Staging(), "slurm", "state")
	jobs := scripts{}
	err := filepath.WalkDir(j.State, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && p != j.State {
			return nil // a job that ended meanwhile
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(j.State, p)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		case !d.Type().IsRegular() || strings.HasSuffix(p, ".new") || strings.HasSuffix(p, ".old"):
			return nil
		}
		info, err := d.Info()
		if err == nil {
			err = copyFile(p, filepath.Join(to, rel))
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err == nil:
			jobs.found(rel, info)
		}
		return err
	})
	if err != nil {
		return Result{}, err
	}
	return Result{Queue: queued(ctx, filepath.Join(to, "job_state"), jobs)}, nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// glusterd is where the volume's layout is written down. Its command line would
// ask the other heads, and hangs for two minutes where one has just died.
const glusterd = "/var/lib/glusterd"

// glusterfs copies what glusterd knows of volumes, their options and its peers.
func (w Worker) glusterfs(_ context.Context, j Job) (Result, error) {
	to := filepath.Join(Layout{j.Root}.Staging(), "glusterfs")
	var files []string
	for _, pattern := range []string{"glusterd.info", "options", "peers/*", "vols/*/info", "vols/*/bricks/*"} {
		found, err := filepath.Glob(filepath.Join(glusterd, pattern))
		if err != nil {
			return Result{}, err
		}
		files = append(files, found...)
	}
	for _, f := range files {
		rel, err := filepath.Rel(glusterd, f)
		if err != nil {
			return Result{}, err
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(to, rel)), 0o700); err != nil {
			return Result{}, err
		}
		if err := copyFile(f, filepath.Join(to, rel)); err != nil {
			return Result{}, err
		}
	}
	if !slices.ContainsFunc(files, func(f string) bool { return filepath.Base(f) == "info" }) {
		return Result{Warnings: []string{glusterd + " has no volume"}}, nil
	}
	return Result{}, nil
}

// redis fetches what every master holds.
func (w Worker) redis(ctx context.Context, j Job) (Result, error) {
	sources, err := w.fetch(ctx, j, filepath.Join(Layout{j.Root}.Staging(), "redis"))
	return Result{Redis: sources}, err
}

// fetch writes what every master holds into a directory named redis, from a
// replica of it where it has one that is in touch: the master forks for nobody's
// sake but its own.
func (w Worker) fetch(ctx context.Context, j Job, to string) ([]Keyspace, error) {
	info, err := w.redisCLI(ctx, j, j.Redis, "INFO", "replication")
	if err != nil {
		return nil, err
	}
	sources := []Keyspace{{Master: redisMaster(info, j.Redis), From: j.Redis}}
	if cluster, err := w.redisCLI(ctx, j, j.Redis, "CLUSTER", "NODES"); err == nil && strings.Contains(cluster, "master") {
		if sources, err = redisSources(cluster); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return nil, err
	}
	// At once: each server waits for repl-diskless-sync-delay (5 s) before it begins,
	// and so the files are of nearly one moment.
	all, ctx := errgroup.WithContext(ctx)
	for i := range sources {
		s := &sources[i]
		s.File = filepath.Join("redis", strings.ReplaceAll(s.Master, ":", "_")+".rdb")
		file := filepath.Join(to, filepath.Base(s.File))
		all.Go(func() error {
			if _, err := w.redisCLI(ctx, j, s.From, "--rdb", file); err != nil {
				return fmt.Errorf("what %s holds, from %s: %w", s.Master, s.From, err)
			}
			return wholeRDB(ctx, file)
		})
	}
	return sources, all.Wait()
}

// redisCLI asks one server. The password is in the environment, which is
// readable by root alone.
func (w Worker) redisCLI(ctx context.Context, j Job, server string, args ...string) (string, error) {
	h, p, err := net.SplitHostPort(server)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "redis-cli", append([]string{"-h", h, "-p", p, "--no-auth-warning"}, args...)...)
	cmd.Env = environment()
	if j.Password != "" {
		cmd.Env = append(cmd.Env, "REDISCLI_AUTH="+j.Password)
	}
	out, err := output(cmd)
	text := string(out)
	if err == nil && (strings.HasPrefix(text, "ERR") || strings.HasPrefix(text, "NOAUTH") || strings.HasPrefix(text, "WRONGPASS")) {
		return "", fmt.Errorf("%s: %s", server, strings.TrimSpace(text))
	}
	return text, err
}

// wholeRDB lets Redis's own checker read a file.
func wholeRDB(ctx context.Context, file string) error {
	cmd := exec.CommandContext(ctx, "redis-check-rdb", file)
	cmd.Env = environment()
	_, err := output(cmd)
	return err
}

// redisSources reads CLUSTER NODES: every master that serves slots, and whom to
// ask for what it holds.
func redisSources(nodes string) ([]Keyspace, error) {
	type node struct{ id, addr string }
	var masters []node
	replicas := map[string][]string{}
	for line := range strings.Lines(nodes) {
		f := strings.Fields(line)
		if len(f) < 8 {
			continue
		}
		addr, _, _ := strings.Cut(f[1], "@")
		flags := strings.Split(f[2], ",")
		bad := slices.Contains(flags, "fail") || slices.Contains(flags, "noaddr") || slices.Contains(flags, "handshake")
		switch {
		case slices.Contains(flags, "master") && len(f) > 8:
			if bad {
				return nil, fmt.Errorf("the master %s does not answer, and no replica has taken over: what it holds cannot be told", addr)
			}
			masters = append(masters, node{f[0], addr})
		case slices.Contains(flags, "slave") && !bad && !slices.Contains(flags, "fail?") && f[7] == "connected":
			replicas[f[3]] = append(replicas[f[3]], addr)
		}
	}
	if len(masters) == 0 {
		return nil, errors.New("no master serves slots")
	}
	var out []Keyspace
	for _, m := range masters {
		from := m.addr
		if list := replicas[m.id]; len(list) > 0 {
			slices.Sort(list)
			from = list[0]
		}
		out = append(out, Keyspace{Master: m.addr, From: from})
	}
	slices.SortFunc(out, func(a, b Keyspace) int { return strings.Compare(a.Master, b.Master) })
	return out, nil
}

// redisMaster reads INFO replication: the master of the server that was asked.
func redisMaster(info, asked string) string {
	fields := map[string]string{}
	for line := range strings.Lines(info) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[k] = v
		}
	}
	if fields["role"] == "slave" {
		return net.JoinHostPort(fields["master_host"], fields["master_port"])
	}
	return asked
}
