package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/plan"
)

const (
	ctldUnit = "slurmctld.service"
	dbdUnit  = "slurmdbd.service"
	ctldPort = 6817
)

// work is the steps of the parts that are brought back, each where it belongs.
type work struct {
	load, keep, swap, configs, check []plan.Step
	quiesce, resume                  []plan.Stage
	notes                            []string
}

func (r Restore) when() string {
	return r.Snapshot.Time.In(Zone(r.Cluster)).Format(time.DateTime)
}

func (r Restore) work(bring, replaced []Database) work {
	var w work
	r.databaseWork(&w, bring, replaced)
	if r.does(OnlyRedis) {
		r.redisWork(&w)
	}
	if r.does(OnlySlurm) {
		r.slurmWork(&w)
	}
	if r.does(OnlyVolume) {
		r.volumeWork(&w)
	}
	if r.does(OnlyConfigs) {
		keep, write := r.configSteps(r.base())
		w.keep, w.configs = append(w.keep, keep...), write
		if len(write) > 0 {
			w.notes = append(w.notes, "configuration: the site's own files; what multihead up writes, and what says who a machine is, stays. Daemons read them when they are started anew")
		}
	}
	r.quiesce(&w, bring)
	return w
}

func (r Restore) databaseWork(w *work, bring, replaced []Database) {
	base := r.base()
	views := slices.ContainsFunc(bring, func(d Database) bool { return len(d.Views) > 0 })
	for _, d := range bring {
		j, unload, in, out := base, base, base, base
		j.Op, unload.Op, in.Op, out.Op = "load", "unload", "swap", "unswap"
		for _, p := range []*Job{&j, &unload, &in, &out} {
			p.Database = &d
		}
		in.Later = views
		w.load = append(w.load, job("load."+d.Name, r.Head, "load "+d.Name+" beside what is there, and compare it", j, &unload, nil))
		what := "bring " + d.Name + " back"
		if slices.ContainsFunc(replaced, func(x Database) bool { return x.Name == d.Name }) {
			what = "replace " + d.Name + "; what is there now stays as " + oldSchema(r.Stamp, d.Name)
		}
		s := job("swap."+d.Name, r.Head, what, in, &out, r.warn)
		if strings.HasPrefix(what, "replace") {
			s.Effect = "clients of " + d.Name + " see the state of " + r.when() + " from one moment to the next"
		}
		w.swap = append(w.swap, s)
	}
	if len(bring) > 0 {
		w.check = append(w.check, r.checks(bring)...)
	}
	if len(replaced) > 0 {
		w.notes = append(w.notes, "what is replaced stays in databases named "+oldPrefix+r.Stamp+"_…: drop them when you no longer need them")
	}
	if r.Only == All && r.does(OnlyDatabase) {
		in, out := base, base
		in.Op, out.Op, in.Later = "accounts", "unaccounts", views
		w.swap = append(w.swap, job("accounts", r.Head, "make the accounts of the snapshot that are missing, and give all of them their rights", in, &out, r.warn))
	}
	if views {
		j := base
		j.Op = "views"
		w.swap = append(w.swap, job("views", r.Head, "make the views, which may read other databases", j, nil, nil))
	}
	if views && r.Only == All && r.does(OnlyDatabase) {
		j := base
		j.Op = "rights"
		w.swap = append(w.swap, job("rights", r.Head, "give the rights to views", j, nil, r.warn))
	}
}

func (r Restore) redisWork(w *work) {
	head, _ := r.Cluster.Head(r.Head)
	base := r.base()
	base.Redis = net.JoinHostPort(head.Address.String(), strconv.Itoa(r.Cluster.Redis.Cluster.Port))
	base.Password = r.Cluster.Redis.Cluster.Password.Reveal()
	keep, load, unload := base, base, base
	keep.Op, load.Op, unload.Op = "redis-keep", "redis-load", "redis-unload"
	swap := job("redis", r.Head, "make Redis hold the keys of the snapshot and no others", load, &unload, nil)
	swap.Effect = "keys change one batch after the other to what they were at " + r.when() + "; Redis serves throughout"
	w.keep = append(w.keep, job("redis.keep", r.Head, "keep what Redis holds now in "+keep.keptRedis(), keep, nil, nil))
	w.swap = append(w.swap, swap)
}

// SlurmCluster is the cluster's name as Slurm has it.
func SlurmCluster(c *config.Cluster) string {
	return strings.ToLower(strings.ReplaceAll(c.Info.ClusterName, "-", "_"))
}

func (r Restore) slurmWork(w *work) {
	j := r.base()
	j.Op, j.State, j.SlurmCluster = "slurm-swap", r.Cluster.Slurm.StateSaveLocation, SlurmCluster(r.Cluster)
	j.Owner = r.Cluster.Users.SlurmUser
	if db, on := r.Cluster.AccountingDatabase(); on && slices.Contains(r.Heads, r.Head) {
		j.Accounting = db.Name
	}
	back := j
	back.Op = "slurm-unswap"
	s := job("slurm", r.Head, "replace Slurm's state; what is there now stays as "+keptState(j.State, r.Stamp), j, &back, nil)
	s.Effect = "Slurm knows the jobs of " + r.when() + ": those submitted since are unknown to it, and ended where they run; those that ended since may run again"
	w.swap = append(w.swap, s)
}

func (r Restore) volumeWork(w *work) {
	j := r.base()
	j.Mount, j.State = r.Cluster.SharedMount(), r.Cluster.Slurm.StateSaveLocation
	load, unload, in, out := j, j, j, j
	load.Op, unload.Op, in.Op, out.Op = "volume-load", "volume-unload", "volume-swap", "volume-unswap"
	w.load = append(w.load, job("load.volume", r.Head, "write the volume's files beside those that are there, and read them again", load, &unload, nil))
	s := job("volume", r.Head, "put them in their place; what is there now goes to "+j.keptVolume(), in, &out, nil)
	s.Effect = "files of " + j.Mount + " are those of " + r.when() + " from one moment to the next; a program that holds an old one open keeps that"
	w.swap = append(w.swap, s)
	w.notes = append(w.notes, "the volume's old files stay in "+j.keptVolume()+": remove them when you no longer need them")
}

// quiesce stops what would write into what is being replaced, the controllers that
// stand by first, and starts it afterwards: accounting, one controller, the others.
// slurmd goes on, and with it every running job.
func (r Restore) quiesce(w *work, bring []Database) {
	yes, no := true, false
	unit := func(id, h, name string, active *bool, effect string) plan.Step {
		return plan.Step{ID: "restore." + id, Host: h, Effect: effect, Action: plan.Unit{Name: name, Active: active}}
	}
	add := func(to *[]plan.Stage, name string, steps []plan.Step) {
		if len(steps) > 0 {
			*to = append(*to, plan.Stage{Name: name, Steps: steps})
		}
	}
	slurm := r.does(OnlySlurm)
	controllers := r.Cluster.SlurmControllers()
	if slurm {
		last := r.InCharge
		if last == "" {
			last = controllers[0].Hostname
		}
		var standby, primary []plan.Step
		for _, c := range controllers {
			if c.Hostname == last {
				primary = append(primary, unit("ctld.stop", last, ctldUnit, &no, "sbatch and squeue fail until the state is back; jobs run on"))
			} else {
				standby = append(standby, unit("ctld.stop", c.Hostname, ctldUnit, &no, ""))
			}
		}
		add(&w.quiesce, "controllers that stand by", standby)
		add(&w.quiesce, "controller in charge", primary)
	}
	accounting, on := r.Cluster.AccountingDatabase()
	if on && slices.ContainsFunc(bring, func(d Database) bool { return d.Name == accounting.Name }) {
		var stop, start []plan.Step
		for _, h := range r.Slurmdbd {
			stop = append(stop, unit("dbd.stop", h, dbdUnit, &no, "slurmctld keeps its accounting records until slurmdbd is back; jobs go on"))
			start = append(start, unit("dbd.start", h, dbdUnit, &yes, ""))
		}
		add(&w.quiesce, "accounting", stop)
		add(&w.resume, "accounting", start)
	}
	if !slurm {
		return
	}
	first := controllers[0].Hostname
	var seen, others []plan.Step
	for _, c := range controllers {
		seen = append(seen, plan.Step{ID: "restore.state.seen", Host: c.Hostname, Action: plan.Await{What: "the state that was brought back is seen", Timeout: time.Minute, Every: 100 * time.Millisecond, Until: r.stateSeen}})
	}
	add(&w.resume, "the state", seen)
	for _, c := range controllers[1:] {
		others = append(others, unit("ctld.start", c.Hostname, ctldUnit, &yes, ""),
			plan.Step{ID: "restore.ctld.serves", Host: c.Hostname, Action: plan.Await{What: "slurmctld stands by", Timeout: 3 * time.Minute, Until: ctldListens}})
	}
	add(&w.resume, "first controller", []plan.Step{unit("ctld.start", first, ctldUnit, &yes, ""),
		{ID: "restore.ctld.serves", Host: first, Action: plan.Await{What: "slurmctld serves with the state that was brought back", Timeout: 3 * time.Minute, Until: r.ctldServes}}})
	add(&w.resume, "other controllers", others)
}

// stateSeen says whether a head sees the state that was brought back. A mount of
// GlusterFS goes on for a second with what it remembers of a name, and a slurmctld that
// starts in that time reads the state that was there before, and saves it over this one.
func (r Restore) stateSeen(ctx context.Context, h host.Reader) (bool, string, error) {
	_, err := h.Stat(ctx, path.Join(r.Cluster.Slurm.StateSaveLocation, broughtMark(r.Stamp)))
	if errors.Is(err, fs.ErrNotExist) {
		return false, "it sees the one of before", nil
	}
	return err == nil, "", err
}

func ctldListens(ctx context.Context, h host.Reader) (bool, string, error) {
	conn, err := h.Dial(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(ctldPort))
	if err != nil {
		return false, "", err
	}
	return true, "", conn.Close()
}

// ctldServes asks for the jobs: only a controller in charge answers that. One that
// cannot read the state ends, and systemd starts it again and again.
func (r Restore) ctldServes(ctx context.Context, h host.Reader) (bool, string, error) {
	if ok, state, err := ctldListens(ctx, h); !ok || err != nil {
		return ok, state, err
	}
	if len(r.Cluster.SlurmControllers()) > 1 {
		// Others, started before its first heartbeat, would wait for half a minute.
		if _, err := h.Stat(ctx, path.Join(r.Cluster.Slurm.StateSaveLocation, "heartbeat")); err != nil {
			return false, "it has written no heartbeat yet", err
		}
	}
	out, err := h.Query(ctx, "squeue", "--noheader", "--all", "--format=%i")
	if err != nil {
		return false, "", err
	}
	return true, fmt.Sprintf("%d jobs queued or running", len(strings.Fields(out))), nil
}

// warn tells what a step warned of.
func (r Restore) warn(res Result) {
	if r.Warn != nil {
		r.Warn(res.Warnings)
	}
}
