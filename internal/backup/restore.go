package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// Phase is the name of a restore's phase, and of what refuses one.
const Phase = "restore"

// What Restore.Only may name: that is replaced, though it exists. Empty brings
// back databases that are missing and replaces nothing.
const (
	OnlyDatabase = "database"
	OnlyRedis    = "redis"
	OnlySlurm    = "slurm"
	OnlyVolume   = "volume"
	OnlyConfigs  = "configs"
	All          = "all" // everything that the snapshot has
)

// Restore is what is asked for, and what was found.
type Restore struct {
	Cluster  *config.Cluster
	Snapshot Snapshot
	Head     string            // does the work: it has the snapshot, and its database serves
	Only     string            // what is replaced
	Named    []string          // these databases alone; empty is all
	Existing []string          // the databases that exist now
	Running  map[string]string // software that runs now, by name
	Stamp    string            // of what is kept aside
	Heads    []string          // reached heads with the database
	Slurmdbd []string          // reached heads that are to run slurmdbd
	InCharge string            // the controller that serves, empty where none is known to
	Silent   []string          // hosts that were not reached
	Configs  []ConfigFile      // what differs of the site's configuration
	Warn     func([]string)    // is told what does not come back and is no reason to stop; may be nil
}

// does says whether a part is to be brought back: named alone, or with everything
// and in the snapshot.
func (r Restore) does(part string) bool {
	if r.Only != All {
		return r.Only == part
	}
	m := r.Snapshot.Metadata
	switch part {
	case OnlyDatabase:
		return len(m.Databases) > 0
	case OnlyRedis:
		return len(m.Redis) > 0 && len(r.Cluster.HeadsWith(config.Redis)) > 0
	case OnlySlurm:
		return m.Has("slurm") && len(r.Cluster.SlurmControllers()) > 0
	case OnlyVolume:
		return m.Mount != "" && r.Cluster.SharedMount() != ""
	case OnlyConfigs:
		return m.Has(Configs)
	}
	return false
}

// chosen sorts the snapshot's databases: those that are brought back, and of
// those the ones that replace something; and those that are left alone.
func (r Restore) chosen() (bring, replaced []Database, left []string) {
	replace := r.does(OnlyDatabase)
	if r.Only != "" && !replace {
		return nil, nil, nil
	}
	for _, d := range r.Snapshot.Databases {
		exists := slices.Contains(r.Existing, d.Name)
		switch {
		case len(r.Named) > 0 && !slices.Contains(r.Named, d.Name):
		case exists && !replace:
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

// halfDone are the databases that would be left alone because they exist, and that an
// earlier restore may have brought back by halves: its own schema goes last.
func (r Restore) halfDone() []string {
	_, _, left := r.chosen()
	return slices.DeleteFunc(left, func(n string) bool { return !slices.Contains(r.Existing, newSchema(n)) })
}

// Replaces lists whose content would be replaced.
func (r Restore) Replaces() []string {
	_, replaced, _ := r.chosen()
	var out []string
	for _, part := range []string{OnlyRedis, OnlySlurm, OnlyVolume} {
		if r.does(part) {
			out = append(out, part)
		}
	}
	if len(r.Configs) > 0 {
		out = append(out, fmt.Sprintf("configs (%d files)", len(r.Configs)))
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
// beside what is there and compare, stop what would write meanwhile, and only then
// put each part in its place, what was there staying beside it. What fails is
// taken back.
func (r Restore) Plan() (plan.Plan, error) {
	if err := r.possible(); err != nil {
		return plan.Plan{}, err
	}
	bring, replaced, _ := r.chosen()
	w := r.work(bring, replaced)
	if len(w.swap) == 0 && len(w.configs) == 0 {
		return plan.Plan{}, nil
	}
	base := r.base()
	ph := plan.Phase{Name: Phase, Notes: w.notes}
	stage := func(name string, steps ...plan.Step) {
		if len(steps) > 0 {
			ph.Stages = append(ph.Stages, plan.Stage{Name: name, Steps: steps})
		}
	}
	extract, tidy := base, base
	extract.Op, extract.Parts, tidy.Op = "extract", r.parts(), "tidy"
	if len(w.swap) > 0 && r.Only != OnlyVolume {
		stage("read", job("extract", r.Head, "read "+r.Snapshot.ID+" back and compare it with its checksums", extract, &tidy, nil))
	}
	stage("load", w.load...)
	stage("keep", w.keep...)
	for _, st := range w.quiesce {
		stage(st.Name, st.Steps...)
	}
	stage("swap", w.swap...)
	stage("configs", w.configs...)
	for _, st := range w.resume {
		stage(st.Name, st.Steps...)
	}
	stage("check", w.check...)
	if len(w.swap) > 0 && r.Only != OnlyVolume {
		stage("tidy", job("tidy", r.Head, "remove what was read back", tidy, nil, nil))
	}
	return plan.Plan{Phases: []plan.Phase{ph}}, nil
}

func (r Restore) base() Job {
	return Job{ID: r.Snapshot.ID, Root: r.Cluster.SharedStorage.Backup.Path, Stamp: r.Stamp}
}

// parts are the folders of the snapshot that are read back.
func (r Restore) parts() []string {
	folder := map[string]string{OnlyRedis: "redis", OnlySlurm: "slurm", OnlyDatabase: "databases", "": "databases"}
	if p, ok := folder[r.Only]; ok {
		return []string{p}
	}
	return nil
}

// possible refuses what the snapshot does not have, or what cannot be brought back
// onto what runs here.
func (r Restore) possible() error {
	for _, n := range r.Named {
		if !slices.ContainsFunc(r.Snapshot.Databases, func(d Database) bool { return d.Name == n }) {
			return refuse("multihead backup list -o json shows what it has.", "the snapshot %s has no database %q", r.Snapshot.ID, n)
		}
	}
	if err := r.versions(); err != nil {
		return err
	}
	if half := r.halfDone(); len(half) > 0 {
		bring, _, _ := r.chosen()
		all := slices.Clone(half) // with what is missing: they may need each other
		for _, d := range bring {
			all = append(all, d.Name)
		}
		return refuse(fmt.Sprintf("Bring it back whole from a snapshot of before that (multihead restore --id %s --only database --database %s: what is there stays beside it); or, if it is as it should be, drop the database %s and say this again.",
			r.Snapshot.ID, strings.Join(all, ","), newSchema(half[0])),
			"a restore of %s was cut off: it is there, and whether all of it is cannot be told", half[0])
	}
	lacks := func(what string) error {
		return refuse("multihead backup list shows what each one has; shared_storage.backup.items says what the next ones get.", "the snapshot %s has nothing of %s", r.Snapshot.ID, what)
	}
	switch {
	case r.Only == OnlyRedis && len(r.Snapshot.Redis) == 0:
		return lacks("Redis")
	case r.Only == OnlySlurm && !r.Snapshot.Has("slurm"):
		return lacks("Slurm")
	case r.Only == OnlyVolume && r.Snapshot.Mount == "":
		return lacks("the volume's files")
	case r.Only == OnlyConfigs && !r.Snapshot.Has(Configs):
		return lacks("the configuration")
	case r.does(OnlyRedis) && !r.Cluster.Runs(r.Head, config.Redis):
		return refuse("Bring a head back that has both.", "%s has the snapshot and does not run Redis", r.Head)
	}
	if r.does(OnlySlurm) {
		for _, c := range r.Cluster.SlurmControllers() {
			if slices.Contains(r.Silent, c.Hostname) {
				return refuse("Bring it back, or power it off and take it out of the cluster (multihead node remove).",
					"%s was not reached: its slurmctld may run, and write into the state that is being replaced", c.Hostname)
			}
		}
	}
	return nil
}

// versions refuses a snapshot of a newer server than the one that runs: an older
// one may read it wrongly.
func (r Restore) versions() error {
	wanted := map[string]bool{"mariadb": r.Only == "" || r.does(OnlyDatabase), "redis": r.does(OnlyRedis), "slurm": r.does(OnlySlurm)}
	for _, what := range []string{"mariadb", "redis", "slurm"} {
		had, have := r.Snapshot.Software[what], r.Running[what]
		if !wanted[what] || had == "" || have == "" { // the comparison after loading decides
			continue
		}
		if newer(had, have) {
			return refuse("Upgrade the heads first, or restore on a cluster that has at least "+had+".",
				"the snapshot was made with %s %s, and %s runs here: an older server cannot be trusted with it", what, had, have)
		}
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
