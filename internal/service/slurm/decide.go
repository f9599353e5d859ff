package slurm

import (
	"fmt"
	"path"
	"strings"

	"multihead/internal/service"
)

func refusal(remedy, format string, args ...any) error {
	return &service.Refusal{Service: "slurm", Reason: fmt.Sprintf(format, args...), Remedy: remedy}
}

// decide says where the controllers begin. It refuses what could lose jobs:
// another cluster's state, a state that would be left behind on a local disk,
// or a head of which nothing is known while none lives.
func (s *State) decide(intent service.Intent) (service.Decision, error) {
	want := clusterName(s.cluster)
	if _, ok := shared(s.cluster); !ok && len(s.cluster.SlurmControllers()) > 1 {
		return service.Decision{}, refusal("Set slurm_config.state_save_location to a directory below the shared storage, and switch that storage on.",
			"%d controllers, and %s is not on storage that all of them see: a backup would take over without the jobs",
			len(s.cluster.SlurmControllers()), s.cluster.Slurm.StateSaveLocation)
	}
	if runsDBD(s.cluster) {
		if _, _, ok := dbAccount(s.cluster); !ok {
			return service.Decision{}, refusal("Add it to database.mariadb.databases with user and password, or set slurm_config.accounting.enabled: false.",
				"accounting is on and no account is given for the database %s", s.cluster.Slurm.Accounting.StorageLoc)
		}
	}
	var evidence []service.Evidence
	for _, h := range s.heads {
		if !h.controller {
			continue
		}
		if err := h.fits(want); err != nil {
			return service.Decision{}, err
		}
		evidence = append(evidence, h.evidence(want))
	}
	return service.Decide("slurm", evidence, intent)
}

// fits refuses a head on which another cluster lives or lies.
func (h head) fits(want string) error {
	if name := settings(h.conf)["clustername"]; name != "" && !strings.EqualFold(name, want) && running(h.units[ctldUnit]) {
		return refusal("Stop that slurmctld if it is not wanted any more, or give the file its cluster_name.",
			"on %s a slurmctld runs for the cluster %s; this file is for %s", h.name, name, want)
	}
	if h.state.data == service.Yes && !strings.EqualFold(h.state.cluster, want) {
		return refusal("Move that directory aside by hand, or set another slurm_config.state_save_location.",
			"%s holds the state of the cluster %s; this file is for %s", h.state.path, h.state.cluster, want)
	}
	if h.oldState.data == service.Yes && h.state.data != service.Yes && strings.EqualFold(h.oldState.cluster, want) {
		return refusal(fmt.Sprintf("Stop slurmctld on %s (running jobs go on), copy the directory with cp --archive %s/. %s/ once the storage is mounted, then run up again.",
			h.name, path.Clean(h.oldState.path), path.Clean(h.state.path)),
			"%s has the state of this cluster, with its jobs, in %s, and the file says %s: starting there would forget them",
			h.name, h.oldState.path, h.state.path)
	}
	return nil
}

// evidence is the head in the words of the common rule. Its state needs no
// recovery however it was stopped: slurmctld writes each file anew and keeps
// the last one, and the heads share one directory, so that no copy is ahead.
func (h head) evidence(want string) service.Evidence {
	e := service.Evidence{Node: h.name, Clean: service.Yes, Why: h.why}
	if !h.reached {
		return e
	}
	e.Live, e.Data = service.No, h.state.data
	if running(h.units[ctldUnit]) {
		e.Live, e.Cluster = service.Yes, want
	}
	if e.Data == service.Yes {
		e.Cluster = want
	}
	if h.state.why != "" {
		e.Why = h.state.why
	}
	return e
}

// cgroupsUsable says whether jobs are put into cgroups, and what to tell a
// person about it. The setting is one for the whole cluster, and Slurm cannot
// change it under running jobs: what a slurm.conf that is there says stays.
func (s *State) cgroupsUsable() (usable bool, note string) {
	if !s.cluster.Cgroup.Enabled {
		return false, ""
	}
	var cannot []string
	asked := 0
	for _, n := range s.nodes {
		if !n.reached || n.cgroups == service.Unsure {
			continue
		}
		asked++
		if n.cgroups == service.No {
			cannot = append(cannot, n.name+": "+n.whyNot)
		}
	}
	for _, h := range s.heads {
		switch before := settings(h.conf)["proctracktype"]; {
		case before == "" || !h.reached:
		case before == "proctrack/cgroup" && len(cannot) > 0:
			return true, "jobs are confined by cgroups as before, which will not work on " + strings.Join(cannot, "; ")
		case before == "proctrack/cgroup":
			return true, ""
		case len(cannot) == 0 && asked > 0:
			return false, "jobs are not confined by cgroups, as before; all compute nodes could: to change it, let all jobs end, set ProctrackType by hand and restart all daemons"
		default:
			return false, ""
		}
	}
	if len(cannot) > 0 {
		return false, "jobs are tracked without cgroups and not confined, because " + strings.Join(cannot, "; ")
	}
	return asked > 0 || len(s.nodes) == 0, ""
}
