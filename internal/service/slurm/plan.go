package slurm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// files is everything that is rendered, the same for all heads.
type files struct {
	slurm, gres []byte
	cgroups     bool
}

// Plan brings the controllers up one before the others, then the others and
// the compute nodes beside each other.
//
// All at once on an empty state directory costs 30 s: each waits for a
// heartbeat that nobody writes yet.
func (s *State) Plan(intent service.Intent) (plan.Phase, error) {
	var ph plan.Phase
	d, err := s.decide(intent)
	if err != nil {
		return ph, err
	}
	f, notes, err := s.render()
	if err != nil {
		return ph, err
	}
	ph.Notes = append(s.notes(d), notes...)
	first := d.First
	if d.Verdict == service.Joins {
		first = d.Members[0]
		if i := s.active(); i >= 0 {
			first = s.heads[i].name
		}
	}
	prepare := plan.Stage{Name: "prepare"}
	storage := plan.Stage{Name: "state and accounting"}
	begin := plan.Stage{Name: "first controller"}
	rest := plan.Stage{Name: "other controllers and nodes"}
	verify := plan.Stage{Name: "verify"}
	for _, h := range s.heads {
		if !h.reached || slices.Contains(d.Skipped, h.name) {
			continue
		}
		steps, err := s.prepareHead(h, f, first)
		if err != nil {
			return ph, err
		}
		prepare.Steps = append(prepare.Steps, steps...)
		if !h.controller {
			continue
		}
		standby := h.name != first
		controller := s.controllerSteps(h, standby)
		dbd := s.accountingSteps(h, d)
		if h.name == s.servesDBD(d) {
			storage.Steps = append(storage.Steps, dbd...)
		} else {
			begin.Steps = append(begin.Steps, dbd...)
		}
		if standby {
			rest.Steps = append(rest.Steps, s.storageSteps(h, false)...)
			if in := s.inWay(); in != nil && s.isFirst(h) && h.listens == service.No && intent.Includes(h.name) && intent.Includes(in.name) {
				rest.Steps = append(rest.Steps, s.returns(h, *in, startCtld())...)
				continue
			}
			rest.Steps = append(rest.Steps, controller...)
			rest.Steps = append(rest.Steps, step(h.name, "ctld.serves", awaitPort("slurmctld on "+h.name+" stands by", ctldPort)))
			continue
		}
		storage.Steps = append(storage.Steps, s.storageSteps(h, true)...)
		begin.Steps = append(begin.Steps, controller...)
		begin.Steps = append(begin.Steps, step(h.name, "ctld.serves", s.awaitInCharge(h)))
		if d.Verdict == service.Form {
			begin.Steps = append(begin.Steps, step(h.name, "state.on-disk", onDisk(s.cluster.Slurm.StateSaveLocation)))
		}
		verify.Steps = append(verify.Steps, step(h.name, "nodes", s.awaitNodes(intent)))
		if accounts(s.cluster) {
			verify.Steps = append(verify.Steps, step(h.name, "registered", registered(clusterName(s.cluster))))
		}
	}
	for _, n := range s.nodes {
		if !n.reached || !intent.Includes(n.name) {
			continue
		}
		prepare.Steps = append(prepare.Steps, s.prepareNode(n)...)
		rest.Steps = append(rest.Steps, step(n.name, "node", plan.Running(nodeUnit, dropIn(nodeUnit))))
	}
	ph.Stages = []plan.Stage{prepare, storage, begin, rest, verify}
	return ph, nil
}

func step(host, id string, a plan.Action) plan.Step {
	return plan.Step{ID: "slurm." + id, Host: host, Action: a}
}

func dropIn(unit string) string { return dropInDir + unit + dropInFile }

// render makes the files that are the same on all heads.
func (s *State) render() (f files, notes []string, err error) {
	usable, note := s.cgroupsUsable()
	if note != "" {
		notes = append(notes, note)
	}
	hw := map[string]config.Hardware{}
	for _, n := range s.nodes {
		if n.reached {
			hw[n.name] = n.hardware
		}
	}
	if f.slurm, err = slurmConf(s.cluster, found{usable, hw}); err != nil {
		return f, nil, err
	}
	f.gres, f.cgroups = gresConf(s.cluster), usable
	return f, notes, nil
}

// notes is what a person should know before saying yes.
func (s *State) notes(d service.Decision) []string {
	var out []string
	for _, h := range s.heads {
		if !h.reached {
			out = append(out, fmt.Sprintf("%s is left as it is: %s", h.name, h.why))
		} else if slices.Contains(d.Skipped, h.name) {
			out = append(out, fmt.Sprintf("%s is left as it is: %s", h.name, h.state.why))
		}
	}
	if !accounts(s.cluster) {
		out = append(out, "jobs are not accounted: no head runs mariadb, or accounting is switched off")
	}
	if _, ok := shared(s.cluster); !ok {
		out = append(out, "the state of slurmctld lies on the local disk of the only head that runs it: no other can take over")
	}
	for _, n := range s.nodes {
		given, has := n.spec.Hardware, n.hardware
		switch {
		case !n.reached:
			out = append(out, fmt.Sprintf("the compute node %s is left as it is: %s", n.name, n.why))
		case has.MemoryMB > 0 && given.MemoryMB > has.MemoryMB+256:
			out = append(out, fmt.Sprintf("%s has %d MiB of memory and the file says %d: Slurm will drain it", n.name, has.MemoryMB, given.MemoryMB))
		case has.CPUs > 0 && given.CPUs > has.CPUs:
			out = append(out, fmt.Sprintf("%s has %d CPUs and the file says %d: Slurm will not use it", n.name, has.CPUs, given.CPUs))
		}
		if n.reached && n.ownConf {
			out = append(out, fmt.Sprintf("%s has a slurm.conf of its own; it is kept aside, for it would contradict that of the heads", n.name))
		}
	}
	return out
}

// prepareHead puts packages and files in place and starts nothing.
func (s *State) prepareHead(h head, f files, first string) ([]plan.Step, error) {
	c, user := s.cluster, s.cluster.Users.SlurmUser
	var out []plan.Step
	add := func(id string, a plan.Action) { out = append(out, step(h.name, id, a)) }
	names := slices.Clone(h.pkg.client)
	if h.controller {
		names = append(names, h.pkg.ctld...)
		if s.dbdPlace(h) >= 0 {
			names = append(names, h.pkg.dbd...)
		}
	}
	add("packages", plan.Packages{Names: names})
	add("logs", plan.Dir{Path: c.Slurm.LogPath, Attr: host.Attr{Owner: user, Group: user}})
	public := host.Attr{Mode: 0o644}
	write := func(name string, f file) {
		if h.controller && running(h.units[ctldUnit]) {
			f = conf{f, load{confs: s.confs(), restart: h.name != first}}
		}
		add(name, f)
		s.addLink(name, add)
	}
	at := func(name string) string { return path.Join(c.Slurm.ConfigPath, name) }
	if h.controller {
		write("cgroup.conf", byVersion{at("cgroup.conf"), public, func(version string) ([]byte, error) {
			return cgroupConf(c, f.cgroups, version)
		}})
		write("gres.conf", plan.File{Path: at("gres.conf"), Data: f.gres, Attr: public})
	}
	write("slurm.conf", plan.File{Path: at("slurm.conf"), Data: f.slurm, Attr: public})
	if !h.controller {
		return out, nil
	}
	mount, _ := shared(c)
	if s.isFirst(h) {
		add("ctld.turn", plan.File{Path: turnPath, Data: turnScript, Attr: host.Attr{Mode: 0o755}})
	}
	add("ctld.readable", plan.File{Path: readablePath, Data: readableScript, Attr: host.Attr{Mode: 0o755}})
	add("ctld.lost", plan.File{Path: lostPath, Data: lostScript, Attr: host.Attr{Mode: 0o755}})
	add("ctld.remembered", plan.File{Path: keepPath, Data: []byte(keepDropIn), Attr: public})
	add("ctld.unit", plan.File{Path: dropIn(ctldUnit), Data: ctldDropIn(mount, c.Slurm.StateSaveLocation, s.dbdPlace(h) >= 0, s.isFirst(h)), Attr: public})
	if s.dbdPlace(h) >= 0 {
		data, err := dbdConf(c, h.name)
		if err != nil {
			return nil, err
		}
		// slurmdbd refuses a file that others could read.
		add("slurmdbd.conf", plan.File{Path: at("slurmdbd.conf"), Data: data, Attr: host.Attr{Mode: 0o600, Owner: user, Group: user}, Secret: true})
		s.addLink("slurmdbd.conf", add)
		add("dbd.unit", plan.File{Path: dropIn(dbdUnit), Data: []byte(dbdDropIn), Attr: public})
	}
	return out, nil
}

// addLink makes a file of a directory of the site's own be found where Slurm
// looks by itself.
func (s *State) addLink(name string, add func(string, plan.Action)) {
	if dir := s.cluster.Slurm.ConfigPath; path.Clean(dir) != confDir {
		add(name+".link", plan.Link{Path: path.Join(confDir, name), Target: path.Join(dir, name)})
	}
}

// prepareNode sets a compute node up to fetch its configuration.
func (s *State) prepareNode(n node) []plan.Step {
	c := s.cluster
	var out []plan.Step
	add := func(id string, a plan.Action) { out = append(out, step(n.name, "node."+id, a)) }
	add("packages", plan.Packages{Names: append(slices.Clone(n.pkg.node), n.pkg.client...)})
	add("logs", plan.Dir{Path: c.Slurm.LogPath, Attr: host.Attr{Owner: c.Users.SlurmUser, Group: c.Users.SlurmUser}})
	add("spool", ownDir{dir: c.Slurm.SpoolPath, aside: c.Slurm.SpoolPath + ".multihead-" + s.stamp})
	if n.ownConf {
		from := path.Join(confDir, "slurm.conf")
		add("aside", plan.Aside{Path: from, To: from + ".multihead-" + s.stamp})
	}
	// Not among what the unit reads: slurmd is told of new controllers while
	// it runs, and needs the list only for its next start.
	add("env", plan.File{Path: nodeEnv, Attr: host.Attr{Mode: 0o644},
		Data: []byte("# Managed by multihead; changes are overwritten.\nSLURMD_OPTIONS=\"--conf-server " + confServers(c) + "\"\n")})
	add("unit", plan.File{Path: dropIn(nodeUnit), Data: []byte(nodeDropIn), Attr: host.Attr{Mode: 0o644}})
	return out
}

// controllerSteps start slurmctld, or make one that runs read its files again;
// one that starts reads them anyway.
func (s *State) controllerSteps(h head, standby bool) []plan.Step {
	out := []plan.Step{step(h.name, "ctld", startCtld())}
	if running(h.units[ctldUnit]) {
		out = append(out, step(h.name, "ctld.load", load{confs: s.confs(), restart: standby}))
	}
	return out
}

func startCtld() plan.Unit { return plan.Started(ctldUnit, dropIn(ctldUnit)) }

func (s *State) confs() []string {
	var out []string
	for _, n := range []string{"slurm.conf", "cgroup.conf", "gres.conf"} {
		out = append(out, path.Join(s.cluster.Slurm.ConfigPath, n))
	}
	return out
}

// storageSteps waits for the volume and, on one head, makes the state
// directory on it.
func (s *State) storageSteps(h head, make bool) []plan.Step {
	var out []plan.Step
	if mount, ok := shared(s.cluster); ok {
		out = append(out, step(h.name, "volume", awaitMount(mount)))
	}
	if make {
		user, dir := s.cluster.Users.SlurmUser, s.cluster.Slurm.StateSaveLocation
		out = append(out,
			step(h.name, "state", ownDir{dir: dir, cluster: clusterName(s.cluster), aside: dir + ".multihead-" + s.stamp,
				attr: host.Attr{Mode: 0o700, Owner: user, Group: user}}),
			step(h.name, "marker", plan.File{Path: path.Join(dir, marker), Attr: host.Attr{Mode: 0o644, Owner: user, Group: user},
				Data: []byte("slurmctld starts only where this file is: the state of the cluster " + clusterName(s.cluster) + " lies here.\n")}))
	}
	return out
}

// onDisk has the name of the cluster survive a power cut. slurmctld writes it
// once, when it first starts, and leaves it to the kernel when it reaches the
// disk; heads that lost their power within that half minute were seen to come
// back with an empty file, by which nobody can tell whose state it is.
func onDisk(dir string) plan.Action {
	return plan.Func{
		What: "put the state of slurmctld on disk", Kind: plan.Run,
		Satisfied: func(context.Context, host.Reader) (bool, error) { return false, nil },
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			name := path.Join(dir, "clustername")
			written := plan.Await{What: name + " is written", Timeout: 30 * time.Second,
				Until: func(ctx context.Context, r host.Reader) (bool, string, error) {
					data, err := r.ReadFile(ctx, name)
					if errors.Is(err, fs.ErrNotExist) {
						return false, "not there yet", nil
					}
					return len(data) > 0, "empty", err
				}}
			if _, err := written.Do(ctx, h); err != nil {
				return nil, err
			}
			_, err := h.Run(ctx, host.Command("sync", name))
			return nil, err
		},
	}
}

// dbdPlace is 0 for the head whose slurmdbd serves, 1 for the one that stands
// by, and -1 for others.
func (s *State) dbdPlace(h head) int {
	return slices.IndexFunc(DBDHosts(s.cluster), func(c config.Controller) bool { return c.Hostname == h.name })
}

// servesDBD is the head whose slurmdbd will serve, of those that the plan may
// touch.
func (s *State) servesDBD(d service.Decision) string {
	for _, c := range DBDHosts(s.cluster) {
		for _, h := range s.heads {
			if h.name == c.Hostname && h.reached && !slices.Contains(d.Skipped, h.name) {
				return h.name
			}
		}
	}
	return ""
}

// accountingSteps starts slurmdbd where it belongs, and stops it where an
// earlier file had it. Only the one that serves takes connections.
func (s *State) accountingSteps(h head, d service.Decision) []plan.Step {
	if s.dbdPlace(h) < 0 {
		return []plan.Step{step(h.name, "dbd.stop", plan.Stopped(dbdUnit))}
	}
	out := []plan.Step{step(h.name, "dbd", plan.Running(dbdUnit, path.Join(s.cluster.Slurm.ConfigPath, "slurmdbd.conf"), dropIn(dbdUnit)))}
	if h.name == s.servesDBD(d) {
		out = append(out, step(h.name, "dbd.serves", awaitPort("slurmdbd reaches its database and takes connections", s.cluster.Slurm.Accounting.StoragePort)))
	}
	return out
}

// isFirst says whether a head's slurmctld takes charge from the others as it starts.
func (s *State) isFirst(h head) bool { return h.index == 0 }
