package base

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// Plan makes every reached host fit.
func (s *State) Plan(intent service.Intent) (plan.Phase, error) {
	var ph plan.Phase
	if err := s.checkHosts(intent); err != nil {
		return ph, err
	}
	var members []look
	for _, l := range s.hosts {
		if !l.reached {
			ph.Notes = append(ph.Notes, fmt.Sprintf("%s is left as it is: %s", l.name, l.why))
		} else if l.member {
			members = append(members, l)
		}
	}
	rulings, err := s.rulings(members)
	if err != nil {
		return ph, err
	}
	var key keyChoice
	if usesSlurm(s.cluster) {
		var rings []keyring
		for _, l := range s.hosts {
			if l.member {
				rings = append(rings, l.key)
			}
		}
		if key, err = chooseKey(rings, intent); err != nil {
			return ph, err
		}
		if key.key == nil {
			key.key = s.fresh
			ph.Notes = append(ph.Notes, "a new munge key is made: no host has one")
		} else if key.why != "" {
			ph.Notes = append(ph.Notes, key.why)
		}
	}
	prepare := plan.Stage{Name: "prepare"}
	for _, l := range s.hosts {
		if !l.reached || !intent.Includes(l.name) {
			continue
		}
		steps, notes := s.hostSteps(l, rulings, key)
		prepare.Steps = append(prepare.Steps, steps...)
		for _, n := range notes {
			if !slices.Contains(ph.Notes, n) {
				ph.Notes = append(ph.Notes, n)
			}
		}
	}
	ph.Stages = append(ph.Stages, prepare)
	if proof, ok := s.proof(members); ok {
		ph.Stages = append(ph.Stages, plan.Stage{Name: "prove", Steps: []plan.Step{proof}})
	}
	return ph, nil
}

// checkHosts refuses what would make a cluster that does not hang together,
// all hosts at once.
func (s *State) checkHosts(intent service.Intent) error {
	var errs []error
	for _, l := range s.hosts {
		switch {
		case !intent.Includes(l.name):
			continue
		case !l.reached && l.node.Reached() && (l.head || !l.member): // of many compute nodes one may be late
			// The other phases have their own answers of it and would go on without
			// what is prepared here: its daemons would fail later for no visible reason.
			errs = append(errs, refusal(fmt.Sprintf("%s was reached, and did not say what it is: %s", l.name, l.why),
				"Run the command again; where it stays like this, look at its load and its disk."))
			continue
		case !l.reached:
			continue
		}
		if !strings.EqualFold(short(l.hostname), short(l.name)) {
			errs = append(errs, refusal(fmt.Sprintf("%s calls itself %s: Slurm, Gluster and munge go by the host's own name", l.name, l.hostname),
				fmt.Sprintf("Run hostnamectl set-hostname %s on it, or write its own name into the file; or the address %s is that of another host.", l.name, l.node.Spec.Address)))
		}
		if !l.known {
			errs = append(errs, refusal(fmt.Sprintf("%s runs %s, whose packages are not known here", l.name, l.system),
				"Use Debian, Ubuntu or a system of the Red Hat family."))
		}
		if l.hostsErr != nil {
			errs = append(errs, refusal(fmt.Sprintf("/etc/hosts on %s cannot be edited: %v", l.name, l.hostsErr),
				"Remove the marker that is left over, so that it is clear which lines are the site's own."))
		}
	}
	return errors.Join(errs...)
}

func short(name string) string { s, _, _ := strings.Cut(name, "."); return s }

// rulings decides the numbers of every account over all reached members.
func (s *State) rulings(members []look) ([]ruling, error) {
	var out []ruling
	var errs []error
	for _, w := range s.wishes {
		var tenants []tenant
		for _, l := range members {
			t := tenant{host: l.name, db: l.db}
			slurm := l.key.slurm == service.Yes
			switch {
			case w.home != "":
				// A person's files lie anywhere; nothing here changes
				// the number of a person who is there already.
				t.busy = true
			case w.movable:
				t.busy, t.pinned = l.units[mungeUnit] == "active", slurm
			default:
				t.busy = slurm
			}
			tenants = append(tenants, t)
		}
		r, err := rule(w, tenants)
		errs = append(errs, err)
		out = append(out, r)
	}
	return out, errors.Join(errs...)
}

// hostSteps is one host's part, in order: accounts before the packages, so
// that those take them as they are; the munge key before its package, which
// would make one of its own.
func (s *State) hostSteps(l look, rulings []ruling, key keyChoice) (steps []plan.Step, notes []string) {
	add := func(id string, a plan.Action) {
		steps = append(steps, plan.Step{ID: "base." + id, Host: l.name, Action: a})
	}
	if l.member {
		for i, w := range s.wishes {
			c := choiceFor(rulings[i], l.name)
			switch c.do {
			case keep:
				continue
			case leave:
				notes = append(notes, fmt.Sprintf("%s on %s keeps the numbers %s while Slurm runs there; the others have %s, which does no harm", w.Name, l.name, c.was.numbers(), rulings[i].numbers()))
				continue
			}
			unit := ""
			if w.movable && l.units[mungeUnit] == "active" {
				unit = mungeUnit
			}
			add("account."+w.Name, accountAction(w, rulings[i], c, s.cluster.SharedMount(), unit))
		}
	}
	add("hosts", edit{path: "/etc/hosts", change: func(old []byte) ([]byte, error) {
		merged, _, err := mergeHosts(old, entries(s.cluster))
		return merged, err
	}})
	for _, c := range l.hostsEdited {
		notes = append(notes, fmt.Sprintf("/etc/hosts on %s contradicts the cluster file; the old line is kept as a comment: %s", l.name, c))
	}
	if s.program != nil {
		add("binary", install{s.program})
	}
	names := append([]string(nil), l.family.packages...)
	munge := l.member && usesSlurm(s.cluster)
	if munge {
		names = append(names, l.family.munge...)
		s.keySteps(l, key, add)
	}
	add("packages", plan.Packages{Names: names})
	notes = append(notes, s.clockSteps(l, add)...)
	if munge {
		add("munge", plan.Running(mungeUnit, mungeKey))
	}
	return steps, notes
}

func choiceFor(r ruling, host string) choice {
	for _, c := range r.by {
		if c.host == host {
			return c
		}
	}
	return choice{host: host, do: leave}
}

// keySteps puts the munge key in place. A different one is kept beside it.
func (s *State) keySteps(l look, key keyChoice, add func(string, plan.Action)) {
	user := s.cluster.Users.MungeUser
	dir, attr := host.Attr{Mode: 0o700, Owner: user, Group: user}, host.Attr{Mode: 0o400, Owner: user, Group: user}
	add("munge.dir", plan.Dir{Path: "/etc/munge", Attr: dir})
	for _, other := range key.aside {
		if other == l.name {
			add("munge.aside", plan.Aside{Path: mungeKey, To: mungeKey + ".multihead-" + s.stamp})
		}
	}
	if bytes.Equal(l.key.key, key.key) && l.keyMode&^0o600 == 0 {
		attr.Mode = 0 // Debian's own 0600 is as good as 0400, and no reason to restart munge
	}
	add("munge.key", plan.File{Path: mungeKey, Data: key.key, Attr: attr, Secret: true})
}

// clockSteps sets zone and time service.
func (s *State) clockSteps(l look, add func(string, plan.Action)) (notes []string) {
	if tz := s.cluster.Time.Timezone; tz != "" {
		add("timezone", zone(tz))
		if l.timezone {
			add("timezone.name", plan.File{Path: "/etc/timezone", Data: []byte(tz + "\n")})
		}
	}
	if !s.cluster.Time.Enabled {
		return nil
	}
	conf, err := chronyConf(s.cluster, l.name)
	if err != nil {
		return []string{err.Error()}
	}
	reads := []string{l.family.chronyConf}
	if l.family.dropIn != "" {
		add("chrony.conf", plan.File{Path: l.family.dropIn, Data: conf})
		reads = append(reads, l.family.dropIn)
	}
	add("chrony.main", edit{path: l.family.chronyConf, change: func(old []byte) ([]byte, error) {
		if s.cluster.Installation.OfflineMode || len(s.cluster.Time.NTPServers) > 0 {
			old = withoutVendorPool(old)
		}
		if l.family.dropIn == "" {
			return withBlock(old, conf)
		}
		return old, nil
	}})
	if !l.setsClock {
		return []string{"chrony is set up and not started where the host may not set its clock (a container, whose machine keeps it)"}
	}
	add("chrony", plan.Running(l.family.chronyUnit, reads...))
	return nil
}

// zone sets the time zone. The link is made by hand: timedatectl needs D-Bus,
// and its undo would need to know the old link anyway.
func zone(tz string) plan.Action {
	const at, zones = "/etc/localtime", "/usr/share/zoneinfo/"
	return plan.Func{
		What: "set the time zone to " + tz,
		Kind: plan.Change,
		Satisfied: func(ctx context.Context, h host.Reader) (bool, error) {
			info, err := h.Stat(ctx, at)
			if errors.Is(err, fs.ErrNotExist) {
				return false, nil
			}
			return err == nil && strings.HasSuffix(info.Target, "zoneinfo/"+tz), err
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			if _, err := h.Stat(ctx, zones+tz); err != nil {
				return nil, fmt.Errorf("time zone %q: %w", tz, err)
			}
			return plan.Link{Path: at, Target: zones + tz}.Do(ctx, h)
		},
	}
}

// Stop is nothing: munge and the clock serve more than the cluster.
func (s *State) Stop(service.Intent) (plan.Phase, error) {
	return plan.Phase{Notes: []string{"names, accounts, munge and the clock stay as they are"}}, nil
}

// proof is the step that shows the munge key to be one: a credential made now
// on one head is decoded on every other host.
func (s *State) proof(members []look) (plan.Step, bool) {
	if !usesSlurm(s.cluster) || len(members) < 1 || !members[0].head {
		return plan.Step{}, false
	}
	var others []host.Reader
	for _, l := range members[1:] {
		others = append(others, l.reader)
	}
	return plan.Step{ID: "base.munge.proof", Host: members[0].name, Action: plan.Await{
		What:  fmt.Sprintf("munge credentials of %s are good on %d other hosts", members[0].name, len(others)),
		Until: func(ctx context.Context, h host.Reader) (bool, string, error) { return proven(ctx, h, others) },
	}}, true
}
