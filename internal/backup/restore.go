package backup

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// Phase is the name of a restore's phase, and of what refuses one.
const Phase = "restore"

// Restore is what is asked for, and what was found.
type Restore struct {
	Cluster  *config.Cluster
	Snapshot Snapshot
	Head     string            // does the work: it has the snapshot, and its database serves
	Redis    bool              // Redis alone is made as of the snapshot
	Replace  bool              // what exists is replaced as well
	Named    []string          // these databases alone; empty is all
	Existing []string          // the databases that exist now
	Running  map[string]string // software that runs now, by name
	Stamp    string            // of what is kept aside
	Heads    []string          // reached heads with the database
	Slurm    []string          // reached heads with slurmdbd
}

// chosen sorts the snapshot's databases: those that are brought back, and of
// those the ones that replace something; and those that are left alone.
func (r Restore) chosen() (bring, replaced []Database, left []string) {
	if r.Redis {
		return nil, nil, nil
	}
	for _, d := range r.Snapshot.Databases {
		exists := slices.Contains(r.Existing, d.Name)
		switch {
		case len(r.Named) > 0 && !slices.Contains(r.Named, d.Name):
		case exists && !r.Replace:
			left = append(left, d.Name)
		default:
			bring = append(bring, d)
			if exists {
				replaced = append(replaced, d)
			}
		}
	}
	return bring, replaced, left
}

// Replaces lists whose content would be replaced.
func (r Restore) Replaces() []string {
	_, replaced, _ := r.chosen()
	var out []string
	if r.Redis {
		out = append(out, "redis")
	}
	for _, d := range replaced {
		out = append(out, d.Name)
	}
	return out
}

// Left lists the databases that exist, and that are therefore left alone.
func (r Restore) Left() []string {
	_, _, left := r.chosen()
	return left
}

func refuse(remedy, format string, args ...any) error {
	return &service.Refusal{Service: Phase, Reason: fmt.Sprintf(format, args...), Remedy: remedy}
}

// Plan is the steps: read the snapshot back and check it, load what is wanted
// under another name and compare, and only then put it in its place in one
// statement, what was there staying beside it. What fails is taken back.
func (r Restore) Plan() (plan.Plan, error) {
	for _, n := range r.Named {
		if !slices.ContainsFunc(r.Snapshot.Databases, func(d Database) bool { return d.Name == n }) {
			return plan.Plan{}, refuse("multihead backup list -o json shows what it has.", "the snapshot %s has no database %q", r.Snapshot.ID, n)
		}
	}
	if err := r.versions(); err != nil {
		return plan.Plan{}, err
	}
	if r.Redis {
		return r.keys()
	}
	bring, replaced, _ := r.chosen()
	if len(bring) == 0 {
		return plan.Plan{}, nil
	}
	base := Job{ID: r.Snapshot.ID, Root: r.Cluster.SharedStorage.Backup.Path, Stamp: r.Stamp}
	extract, tidy := base, base
	extract.Op, tidy.Op = "extract", "tidy"
	ph := plan.Phase{Name: Phase}
	stage := func(name string, steps ...plan.Step) {
		if len(steps) > 0 {
			ph.Stages = append(ph.Stages, plan.Stage{Name: name, Steps: steps})
		}
	}
	stage("read", job("extract", r.Head, "read "+r.Snapshot.ID+" back and compare it with its checksums", extract, &tidy, nil))
	var load, swap []plan.Step
	for _, d := range bring {
		j, unload, in, out := base, base, base, base
		j.Op, unload.Op, in.Op, out.Op = "load", "unload", "swap", "unswap"
		for _, p := range []*Job{&j, &unload, &in, &out} {
			p.Database = &d
		}
		load = append(load, job("load."+d.Name, r.Head, "load "+d.Name+" beside what is there, and compare it", j, &unload, nil))
		what := "bring " + d.Name + " back"
		if slices.ContainsFunc(replaced, func(x Database) bool { return x.Name == d.Name }) {
			what = "replace " + d.Name + "; what is there now stays as " + oldSchema(r.Stamp, d.Name)
		}
		s := job("swap."+d.Name, r.Head, what, in, &out, nil)
		if strings.HasPrefix(what, "replace") {
			s.Effect = "clients of " + d.Name + " see the state of " + r.Snapshot.Time.In(Zone(r.Cluster)).Format(time.DateTime) + " from one moment to the next"
		}
		swap = append(swap, s)
	}
	stage("load", load...)
	accounting, on := r.Cluster.AccountingDatabase()
	quiesce := on && slices.ContainsFunc(bring, func(d Database) bool { return d.Name == accounting.Name })
	if quiesce {
		stage("quiesce", r.slurmdbd(false)...)
	}
	stage("swap", swap...)
	if quiesce {
		stage("resume", r.slurmdbd(true)...)
	}
	stage("check", r.checks(bring)...)
	stage("tidy", job("tidy", r.Head, "remove what was read back", tidy, nil, nil))
	if len(replaced) > 0 {
		ph.Notes = append(ph.Notes, "what is replaced stays in databases named "+oldPrefix+r.Stamp+"_…: drop them when you no longer need them")
	}
	return plan.Plan{Phases: []plan.Phase{ph}}, nil
}

// keys is the plan that makes Redis hold what the snapshot has.
func (r Restore) keys() (plan.Plan, error) {
	if len(r.Snapshot.Redis) == 0 {
		return plan.Plan{}, refuse("multihead backup list -o json shows what each one has.", "the snapshot %s has nothing of Redis", r.Snapshot.ID)
	}
	head, ok := r.Cluster.Head(r.Head)
	if !ok || !r.Cluster.Runs(r.Head, config.Redis) {
		return plan.Plan{}, refuse("Bring a head back that has both.", "%s has the snapshot and does not run Redis", r.Head)
	}
	base := Job{ID: r.Snapshot.ID, Root: r.Cluster.SharedStorage.Backup.Path, Stamp: r.Stamp}
	extract, tidy := base, base
	extract.Op, tidy.Op = "extract", "tidy"
	base.Redis = net.JoinHostPort(head.Address.String(), strconv.Itoa(r.Cluster.Redis.Cluster.Port))
	base.Password = r.Cluster.Redis.Cluster.Password.Reveal()
	keep, load, unload := base, base, base
	keep.Op, load.Op, unload.Op = "redis-keep", "redis-load", "redis-unload"
	swap := job("redis", r.Head, "make Redis hold the keys of the snapshot and no others", load, &unload, nil)
	swap.Effect = "keys change one batch after the other to what they were at " + r.Snapshot.Time.In(Zone(r.Cluster)).Format(time.DateTime) + "; Redis serves throughout"
	ph := plan.Phase{Name: Phase, Stages: []plan.Stage{
		{Name: "read", Steps: []plan.Step{job("extract", r.Head, "read "+r.Snapshot.ID+" back and compare it with its checksums", extract, &tidy, nil)}},
		{Name: "keep", Steps: []plan.Step{job("redis.keep", r.Head, "keep what Redis holds now in "+keep.keptRedis(), keep, nil, nil)}},
		{Name: "swap", Steps: []plan.Step{swap}},
		{Name: "tidy", Steps: []plan.Step{job("tidy", r.Head, "remove what was read back", tidy, nil, nil)}},
	}}
	return plan.Plan{Phases: []plan.Phase{ph}}, nil
}

// versions refuses a snapshot of a newer server than the one that runs: an older
// one may read it wrongly.
func (r Restore) versions() error {
	what := "mariadb"
	if r.Redis {
		what = "redis"
	}
	had, have := r.Snapshot.Software[what], r.Running[what]
	if had == "" || have == "" {
		return nil // the comparison after loading decides
	}
	if newer(had, have) {
		return refuse("Upgrade the heads first, or restore on a cluster that has at least "+had+".",
			"the snapshot was made with %s %s, and %s runs here: an older server cannot be trusted with it", what, had, have)
	}
	return nil
}

// newer says whether version a has a higher major or minor number than b.
func newer(a, b string) bool {
	var x, y [2]int
	_, aerr := fmt.Sscanf(a, "%d.%d", &x[0], &x[1])
	_, berr := fmt.Sscanf(b, "%d.%d", &y[0], &y[1])
	if aerr != nil || berr != nil {
		return false
	}
	return x[0] > y[0] || x[0] == y[0] && x[1] > y[1]
}

// slurmdbd stops or starts the writer of the accounting database. slurmctld keeps
// what it has to say meanwhile.
func (r Restore) slurmdbd(run bool) []plan.Step {
	var out []plan.Step
	for _, h := range r.Slurm {
		id, effect := "backup.slurmdbd.stop", "slurmctld keeps its accounting records until slurmdbd is back; jobs go on"
		if run {
			id, effect = "backup.slurmdbd.start", ""
		}
		out = append(out, plan.Step{ID: id, Host: h, Effect: effect, Action: plan.Unit{Name: "slurmdbd.service", Active: &run}})
	}
	return out
}

// checks waits until every head has what was brought back.
func (r Restore) checks(bring []Database) []plan.Step {
	var out []plan.Step
	for _, h := range r.Heads {
		out = append(out, plan.Step{ID: "backup.check", Host: h, Action: plan.Await{What: "its database has what was brought back", Timeout: 5 * time.Minute,
			Until: func(ctx context.Context, rd host.Reader) (bool, string, error) {
				have, err := Schemas(ctx, rd, r.Cluster.Database.MariaDB.RootPassword)
				if err != nil {
					return false, "", err
				}
				for _, d := range bring {
					if !slices.Contains(have, d.Name) || slices.Contains(have, newSchema(d.Name)) {
						return false, d.Name + " is not there yet", nil
					}
				}
				return true, "", nil
			}}})
	}
	return out
}

// Pick chooses the snapshot: the one named, or the newest that is whole
// somewhere.
func Pick(list []Snapshot, id string) (Snapshot, error) {
	for i := len(list) - 1; i >= 0; i-- {
		s := list[i]
		if id != "" && s.ID != id {
			continue
		}
		if len(s.On) > 0 {
			return s, nil
		}
		if id != "" {
			return s, refuse("multihead backup list shows the others.", "no head has a whole copy of %s", id)
		}
	}
	if id != "" {
		return Snapshot{}, refuse("multihead backup list shows what there is.", "no head that answered has the snapshot %s", id)
	}
	return Snapshot{}, errors.New("there is no snapshot that is whole on a head that answered; multihead backup list shows what there is")
}
