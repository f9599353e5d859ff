package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path"
	"slices"
	"strconv"
	"sync"
	"time"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/plan"
)

// Head is one head as a backup meets it.
type Head struct {
	Name    string
	Address string
	Reader  host.Reader
}

// Create is one snapshot to be made.
type Create struct {
	Cluster *config.Cluster
	Tool    string // version
	Begin   time.Time
	Full    bool
	Maker   Head   // collects and stores it
	Others  []Head // get a copy
	Reached []Head // whose configuration is collected
	Missing []string
	Warn    func([]string)               // is told what failed and is no failure of the snapshot
	Lacks   func(head string, why error) // is told which head could not take its copy
}

// RemoteOf is the file's off-site target; nil where it names none.
func RemoteOf(c *config.Cluster) *Remote {
	o := c.SharedStorage.Backup.Offsite
	if o.Repository == "" {
		return nil
	}
	return &Remote{Repository: o.Repository, User: o.User, Password: o.Password.Reveal()}
}

// Import is the plan that copies snapshots from another repository into that of a
// head, and describes what has no description there. done is told what came.
func Import(root, head string, from *Remote, done func(Result)) plan.Plan {
	what := "describe the snapshots in " + Layout{root}.Repository() + " that have no description"
	if from != nil {
		what = "copy the snapshots of " + from.Repository + " to " + Layout{root}.Repository()
	}
	s := job("import", head, what, Job{Op: "import", Root: root, Remote: from}, nil, done)
	return plan.Plan{Phases: []plan.Phase{{Name: "backup", Stages: []plan.Stage{{Name: "import", Steps: []plan.Step{s}}}}}}
}

// ID is the snapshot's id: the time at the heads, wherever the tool runs.
func (c Create) ID() string { return c.Begin.In(Zone(c.Cluster)).Format(IDFormat) }

// Zone is the heads' time zone; this machine's where the file names none.
func Zone(c *config.Cluster) *time.Location {
	if z, err := time.LoadLocation(c.Time.Timezone); err == nil && c.Time.Timezone != "" {
		return z
	}
	return time.Local
}

// longest is how long one job may take: many gigabytes over a slow disk.
const longest = 6 * time.Hour

// binary is the tool on every head.
const binary = "/usr/local/bin/multihead"

// Do has a host do a job, as a unit of its own: it does not die with whoever
// asked, does not count against the agent's memory, and yields to the services.
func Do(ctx context.Context, h host.Host, j Job) (Result, error) {
	in, err := json.Marshal(j)
	if err != nil {
		return Result{}, err
	}
	out, err := h.Run(ctx, host.Cmd{Stdin: in, Argv: []string{"systemd-run", "--quiet", "--wait", "--pipe", "--collect",
		"--property=Nice=10", "--property=IOSchedulingClass=best-effort", "--property=IOSchedulingPriority=7", "--property=CPUWeight=20", "--property=TimeoutStopSec=10s",
		binary, "backup-work"}})
	if err != nil {
		var exit *host.ExitError
		if errors.As(err, &exit) {
			// The command's own words are enough: how it was started helps nobody.
			exit.Cmd = "backup-work " + j.Op
		}
		return Result{}, err
	}
	var r Result
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		return Result{}, fmt.Errorf("%s: what backup-work answered: %w", h.Name(), err)
	}
	return r, nil
}

// job is a step that does one.
func job(id, hostname, what string, j Job, undo *Job, keep func(Result)) plan.Step {
	return plan.Step{ID: "backup." + id, Host: hostname, Action: plan.Func{What: what, Timeout: longest,
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			var back plan.Action
			if undo != nil {
				back = plan.Func{What: "take back: " + what, Timeout: longest, Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
					_, err := Do(ctx, h, *undo)
					return nil, err
				}}
			}
			r, err := Do(ctx, h, j)
			if err == nil && keep != nil {
				keep(r)
			}
			return back, err
		}}}
}

// collected is what the steps of one snapshot found, as they go.
type collected struct {
	mu   sync.Mutex
	meta Metadata
}

func (c *collected) add(r Result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.meta.Databases = append(c.meta.Databases, r.Databases...)
	c.meta.Redis = append(c.meta.Redis, r.Redis...)
	c.meta.Warnings = append(c.meta.Warnings, r.Warnings...)
	if r.Queue != nil {
		c.meta.Queue = r.Queue
	}
	if r.Meta != nil {
		c.meta = *r.Meta
	}
}

// Plan is the steps that make it. What fails leaves nothing behind but what was
// stored and is whole.
func (c Create) Plan() plan.Plan {
	items, id := Wanted(c.Cluster), c.ID()
	b := c.Cluster.SharedStorage.Backup
	base := Job{ID: id, Root: b.Path}
	got := &collected{meta: Metadata{ID: id, Time: c.Begin.In(Zone(c.Cluster)).Truncate(time.Second), Host: c.Maker.Name, Cluster: c.Cluster.Info.ClusterName,
		Size: len(c.Cluster.Nodes.Controllers), Items: items, Full: c.Full, Software: map[string]string{"multihead": c.Tool}}}
	for _, h := range c.Cluster.Nodes.Controllers {
		got.meta.Heads = append(got.meta.Heads, h.Hostname)
	}
	for _, m := range c.Missing {
		got.meta.Warnings = append(got.meta.Warnings, "not reached, so that its configuration is not part of it: "+m)
	}
	begin := base
	begin.Op = "begin"
	hasDatabase := slices.Contains(items, Databases) && c.Cluster.Runs(c.Maker.Name, config.MariaDB)
	if hasDatabase {
		begin.Database = &Database{} // room is needed for the databases
	}
	for part, needs := range map[string]string{Databases: config.Redis, GlusterFSMeta: config.GlusterFS} {
		if on := c.Cluster.HeadsWith(needs); slices.Contains(items, part) && len(on) > 0 && !c.Cluster.Runs(c.Maker.Name, needs) {
			got.meta.Warnings = append(got.meta.Warnings, fmt.Sprintf("it lacks what %s has: %s, which makes it, does not run it, and no head does that runs the database too", needs, c.Maker.Name))
		}
	}
	abort := base
	abort.Op = "abort"
	ph := plan.Phase{Name: "backup"}
	ph.Stages = append(ph.Stages, plan.Stage{Name: "begin", Steps: []plan.Step{job("begin", c.Maker.Name, "begin snapshot "+id, begin, &abort, nil)}})
	ph.Stages = append(ph.Stages, plan.Stage{Name: "collect", Steps: c.collect(base, items, hasDatabase, got)})
	ph.Stages = append(ph.Stages, plan.Stage{Name: "store", Steps: []plan.Step{c.store(base, items, got)}})
	verify := base
	verify.Op, verify.Deep = "verify", c.Full
	ph.Stages = append(ph.Stages, plan.Stage{Name: "verify", Steps: []plan.Step{job("verify", c.Maker.Name, "read it back and compare", verify, nil, nil)}})
	if len(c.Others) > 0 {
		ph.Stages = append(ph.Stages, c.spread(base, got)...)
	}
	if off := RemoteOf(c.Cluster); off != nil {
		j := base
		j.Op, j.Remote, j.Deep = "offsite", off, c.Full
		ph.Stages = append(ph.Stages, plan.Stage{Name: "off-site", Steps: []plan.Step{
			job("offsite", c.Maker.Name, "copy it to "+off.Repository, j, nil, func(r Result) { c.Warn(r.Warnings) })}})
	}
	return plan.Plan{Phases: []plan.Phase{ph}}
}

// collect is the steps that gather what the file asks for.
func (c Create) collect(base Job, items []string, hasDatabase bool, got *collected) []plan.Step {
	var steps []plan.Step
	add := func(id, what string, j Job) { steps = append(steps, job(id, c.Maker.Name, what, j, nil, got.add)) }
	if slices.Contains(items, Configs) {
		steps = append(steps, c.configs(base, got))
	}
	if slices.Contains(items, SlurmState) && len(c.Cluster.HeadsWith(config.Slurm)) > 0 {
		j := base
		j.Op, j.State = "slurm", c.Cluster.Slurm.StateSaveLocation
		add("slurm", "copy Slurm's state", j)
	}
	if slices.Contains(items, GlusterFSMeta) && c.Cluster.Runs(c.Maker.Name, config.GlusterFS) {
		j := base
		j.Op = "glusterfs"
		add("glusterfs", "write down the volume's layout", j)
	}
	if slices.Contains(items, Databases) && c.Cluster.Runs(c.Maker.Name, config.Redis) {
		j := base
		j.Op, j.Redis = "redis", net.JoinHostPort(c.Maker.Address, strconv.Itoa(c.Cluster.Redis.Cluster.Port))
		j.Password = c.Cluster.Redis.Cluster.Password.Reveal()
		add("redis", "fetch what every Redis master holds, from its replica", j)
	}
	if hasDatabase {
		j := base
		j.Op = "databases"
		add("databases", "dump the databases in one transaction", j)
	}
	return steps
}

// store is the step that puts what was collected into the repository.
func (c Create) store(base Job, items []string, got *collected) plan.Step {
	mount := c.Cluster.SharedMount()
	return plan.Step{ID: "backup.store", Host: c.Maker.Name, Action: plan.Func{What: "store it in " + Layout{base.Root}.Repository(), Timeout: longest,
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			j := base
			j.Op = "store"
			got.mu.Lock()
			m := got.meta
			got.mu.Unlock()
			if slices.Contains(items, Volume) && mount != "" {
				j.Mount, m.Mount = mount, mount
				// What lies beside them is of restores: kept, or cut off.
				state := c.Cluster.Slurm.StateSaveLocation
				j.Exclude = []string{state, state + ours + "*", path.Join(mount, restoringName+"*"), path.Join(mount, keptName+"*")}
			}
			j.Meta = &m
			r, err := Do(ctx, h, j)
			if err == nil {
				got.add(r)
				c.Warn(m.Warnings)
			}
			return nil, err
		}}}
}

// spread is the stages that bring the snapshot to the other heads.
func (c Create) spread(base Job, got *collected) []plan.Stage {
	offer, drop := base, base
	offer.Op, drop.Op = "offer", "drop"
	offer.Address = addressOf(c.Maker.Address)
	var copies []plan.Step
	for _, o := range c.Others {
		offer.Allow = append(offer.Allow, o.Name)
		copies = append(copies, plan.Step{ID: "backup.copy", Host: o.Name, Action: plan.Func{What: "copy it from " + c.Maker.Name + ", read it back and compare", Timeout: longest,
			Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
				got.mu.Lock()
				m := got.meta
				got.mu.Unlock()
				j := base
				j.Op, j.Address, j.Meta, j.Deep = "pull", addressOf(c.Maker.Address), &m, c.Full
				// One head that cannot is no reason for the others to have none, for the
				// off-site target to have none, or for old snapshots to stay.
				if _, err := Do(ctx, h, j); err != nil {
					if errors.Is(ctx.Err(), context.Canceled) { // by a person
						return nil, err
					}
					c.Lacks(h.Name(), err)
				}
				return nil, nil
			}}})
	}
	return []plan.Stage{
		{Name: "offer", Steps: []plan.Step{job("offer", c.Maker.Name, "let the other heads read the repository", offer, &drop, nil)}},
		{Name: "copy", Steps: copies},
		{Name: "close", Steps: []plan.Step{job("close", c.Maker.Name, "let nobody read it any more", drop, nil, nil)}},
	}
}

// configRoots is where the configuration of a head is.
var configRoots = []string{
	"/etc/hosts", "/etc/hostname", "/etc/chrony", "/etc/munge", "/etc/mysql", "/etc/redis", "/etc/slurm", "/etc/keepalived",
	"/etc/glusterfs", "/var/lib/glusterd/glusterd.info", "/etc/haproxy", "/etc/nginx", "/etc/multihead",
}

// most bounds how much configuration one head may have, in bytes, and one file.
const (
	mostConfig  = 16 << 20
	largeConfig = 1 << 20
)

func (c Create) configs(base Job, got *collected) plan.Step {
	return plan.Step{ID: "backup.configs", Host: c.Maker.Name, Action: plan.Func{What: "collect the configuration of " + strconv.Itoa(len(c.Reached)) + " heads", Timeout: longest,
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			j := base
			j.Op, j.Configs, j.Attributes = "configs", map[string]map[string][]byte{}, map[string]map[string]Attr{}
			var mu sync.Mutex
			var wg sync.WaitGroup
			var errs []error
			for _, head := range c.Reached {
				wg.Go(func() {
					t := tree{files: map[string][]byte{}, attrs: map[string]Attr{}}
					var err error
					for _, root := range configRoots {
						err = errors.Join(err, t.read(ctx, head.Reader, root, 0))
					}
					mu.Lock()
					defer mu.Unlock()
					j.Configs[head.Name], j.Attributes[head.Name] = t.files, t.attrs
					for _, left := range t.left {
						got.add(Result{Warnings: []string{"not part of it, on " + head.Name + ": " + left}})
					}
					if err != nil {
						errs = append(errs, fmt.Errorf("%s: %w", head.Name, err))
					}
				})
			}
			wg.Wait()
			if err := errors.Join(errs...); err != nil {
				return nil, err
			}
			_, err := Do(ctx, h, j)
			return nil, err
		}}}
}

// tree is files with what they are besides their content, by path.
type tree struct {
	files map[string][]byte
	attrs map[string]Attr
	left  []string // what is not read though it is there, and why
	total int      // bytes
}

// read reads what lies at and below a path: files alone, and not the backup's own
// key, without which nobody reads a snapshot.
func (t *tree) read(ctx context.Context, r host.Reader, p string, depth int) error {
	info, err := r.Stat(ctx, p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	switch {
	case p == KeyFile:
		return nil
	case depth > 8:
		t.left = append(t.left, p+", which lies too deep")
		return nil
	case info.Target != "":
		t.attrs[p] = Attr{Link: info.Target}
		if depth == 0 {
			t.left = append(t.left, p+" is a link: what lies at its end")
		}
		return nil
	case info.IsDir():
		entries, err := r.ReadDir(ctx, p)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := t.read(ctx, r, path.Join(p, e.Name), depth+1); err != nil {
				return err
			}
		}
		return nil
	case !info.Mode.IsRegular():
		return nil
	case info.Size > largeConfig:
		t.left = append(t.left, fmt.Sprintf("%s, which is larger than %s", p, size(largeConfig)))
		return nil
	}
	data, err := r.ReadFile(ctx, p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if t.total += len(data); t.total > mostConfig {
		return fmt.Errorf("more than %s of configuration", size(mostConfig))
	}
	t.files[p], t.attrs[p] = data, Attr{Mode: uint32(info.Mode.Perm()), Owner: info.Owner, Group: info.Group}
	return err
}

// Verify is the plan that reads snapshots back, on every head that has them.
func Verify(root string, on map[string][]string, deep bool) plan.Plan {
	st := plan.Stage{Name: "verify"}
	for _, h := range keys(on) {
		for i, id := range on[h] {
			j := Job{Op: "verify", ID: id, Root: root, Deep: deep && i == 0}
			st.Steps = append(st.Steps, job("verify."+id, h, "read "+id+" back and compare", j, nil, nil))
		}
	}
	return plan.Plan{Phases: []plan.Phase{{Name: "backup", Stages: []plan.Stage{st}}}}
}

// Forget is the plan that takes snapshots away.
func Forget(root string, on map[string][]string) plan.Plan {
	st := plan.Stage{Name: "prune"}
	for _, h := range keys(on) {
		if len(on[h]) == 0 {
			continue
		}
		s := job("forget", h, fmt.Sprintf("forget %d snapshots: %s", len(on[h]), on[h]), Job{Op: "forget", Root: root, IDs: on[h]}, nil, nil)
		s.OneWay = "what is forgotten is gone"
		st.Steps = append(st.Steps, s)
	}
	return plan.Plan{Phases: []plan.Phase{{Name: "backup", Stages: []plan.Stage{st}}}}
}

func keys(on map[string][]string) []string {
	var out []string
	for h := range on {
		out = append(out, h)
	}
	slices.Sort(out)
	return out
}
