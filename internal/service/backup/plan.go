package backup

import (
	"bytes"
	_ "embed"
	"fmt"
	"path"
	"strings"

	"multihead/internal/backup"
	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

//go:embed unit.tmpl
var unitText string

//go:embed timer.tmpl
var timerText string

var (
	secret = host.Attr{Mode: 0o600, Owner: "root", Group: "root"}
	public = host.Attr{Mode: 0o644, Owner: "root", Group: "root"}
)

// key is the password of all repositories: the one that exists, or a new one
// where it is certain that none does.
func (s *State) key() ([]byte, bool, error) {
	var have []byte
	var from string
	var silent []string
	for _, t := range s.seats {
		switch {
		case !t.reached:
			silent = append(silent, t.name+" ("+t.why+")")
		case t.key != nil && have == nil:
			have, from = t.key, t.name
		case t.key != nil && !bytes.Equal(t.key, have):
			return nil, false, &service.Refusal{Service: Name,
				Reason: fmt.Sprintf("%s and %s have different passwords for their repositories (%s): one of them could not be read any more", from, t.name, backup.KeyFile),
				Remedy: "Move the repository and the key aside by hand on the head whose snapshots are not needed, then run up again."}
		}
	}
	for _, t := range s.seats {
		if t.reached && t.key == nil && t.data == service.Yes && have == nil {
			return nil, false, &service.Refusal{Service: Name,
				Reason: fmt.Sprintf("%s has a repository in %s, and no head has its password (%s)", t.name, s.root, backup.KeyFile),
				Remedy: "Bring the key file back from where you keep it; without it, move the repository aside by hand: nobody can read it."}
		}
	}
	if have != nil {
		return have, false, nil
	}
	if len(silent) > 0 {
		return nil, false, &service.Refusal{Service: Name,
			Reason: "no head that answered has the password of the repositories, and what " + strings.Join(silent, ", ") + " has is not known: a second one would split the snapshots",
			Remedy: "Bring that head back, or take it out of the file if it is gone for good."}
	}
	return s.drawn, true, nil
}

// Plan implements service.State.
func (s *State) Plan(intent service.Intent) (plan.Phase, error) {
	ph := plan.Phase{Name: Name}
	key, fresh, err := s.key()
	if err != nil {
		return ph, err
	}
	install, start := plan.Stage{Name: "install"}, plan.Stage{Name: "start"}
	for _, t := range s.seats {
		if !t.reached || !intent.Includes(t.name) {
			continue
		}
		add := func(st *plan.Stage, id string, a plan.Action) {
			st.Steps = append(st.Steps, plan.Step{ID: "backup." + id, Host: t.name, Action: a})
		}
		add(&install, "packages", plan.Packages{Names: []string{repository}})
		add(&install, "key", plan.File{Path: backup.KeyFile, Data: key, Attr: secret, Secret: true})
		for _, d := range above(s.root) {
			add(&install, "above"+d, plan.Dir{Path: d})
		}
		add(&install, "directory", plan.Dir{Path: s.root, Attr: host.Attr{Mode: 0o700, Owner: "root", Group: "root"}})
		for _, tm := range s.timers {
			unit := unitDir + tm.name
			if tm.cron == "" {
				add(&start, tm.name, plan.Stopped(tm.name+".timer"))
				add(&start, tm.name+".gone", plan.Absent{Path: unit + ".timer"})
				continue
			}
			flag := ""
			if tm.full {
				flag = " --full"
			}
			add(&install, tm.name+".service", plan.File{Path: unit + ".service", Data: fmt.Appendf(nil, unitText, flag), Attr: public})
			var lines strings.Builder
			for _, c := range tm.schedule.Calendar() {
				fmt.Fprintf(&lines, "OnCalendar=%s\n", c)
			}
			add(&install, tm.name+".timer", plan.File{Path: unit + ".timer", Data: fmt.Appendf(nil, timerText, tm.cron, lines.String()), Attr: public})
			add(&start, tm.name, plan.Running(tm.name+".timer", unit+".timer"))
		}
	}
	ph.Stages = []plan.Stage{install, start}
	if fresh && len(install.Steps) > 0 {
		ph.Notes = append(ph.Notes, "the password of the snapshots is drawn now: keep a copy of "+backup.KeyFile+" away from the cluster, for nobody reads a snapshot without it")
	}
	return ph, nil
}

// above lists the directories that a path lies in, the outermost first.
func above(p string) []string {
	var out []string
	for d := path.Dir(p); d != "/" && d != "."; d = path.Dir(d) {
		out = append([]string{d}, out...)
	}
	return out
}

// Stop implements service.State: no timer fires while the cluster is down.
func (s *State) Stop(intent service.Intent) (plan.Phase, error) {
	no := false
	st := plan.Stage{Name: "stop"}
	for _, t := range s.seats {
		if !t.reached || !intent.Includes(t.name) {
			continue
		}
		for _, tm := range s.timers {
			if tm.cron != "" {
				st.Steps = append(st.Steps, plan.Step{ID: "backup." + tm.name + ".stop", Host: t.name, Action: plan.Unit{Name: tm.name + ".timer", Active: &no}})
			}
		}
	}
	return plan.Phase{Name: Name, Stages: []plan.Stage{st}}, nil
}
