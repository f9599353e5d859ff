package doctor

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"multihead/internal/config"
)

// How far a clock may be from the others. From a second on, logs of different hosts
// can no longer be put in order. From five minutes on munge refuses credentials of
// those whose clocks are behind as expired, and of those that are ahead as rewound
// (MUNGE_DEFAULT_TTL; munged 0.5.16 took 290 s either way and refused 310). A clock that
// is half a minute off and not seen to is on its way there.
const (
	skewWarn   = time.Second
	skewFail   = 30 * time.Second
	skewRefuse = 300 * time.Second
)

// A head that runs everything uses about a gibibyte before the first job.
const (
	memoryFloorMB   = 1 << 10
	memoryComfortMB = 3 << 10
)

// Judge decides about what the hosts answered. It asks nothing.
func Judge(c *config.Cluster, answers []Facts) Report {
	r := Report{Version: 1, OK: true}
	var all, reached []*facts
	for _, a := range answers {
		all = append(all, a.f)
		if a.f.patient.Reader != nil {
			reached = append(reached, a.f)
		}
	}
	middle, note := middleClock(reached)
	if note != "" {
		r.Notes = append(r.Notes, note)
	}
	for _, f := range all {
		h := HostReport{Hostname: f.patient.Spec.Hostname, Role: f.patient.Role}
		if f.patient.Spec.Address.IsValid() {
			h.Address = f.patient.Spec.Address.String()
		}
		h.Findings = append(h.Findings, judgeReach(f))
		if f.patient.Reader == nil {
			h.Findings = append(h.Findings, judgeRoot(f))
			for _, name := range Checks()[2:] {
				h.Findings = append(h.Findings, Finding{Check: name, Level: Unknown})
			}
		} else {
			h.Findings = append(h.Findings,
				judgeRoot(f), judgeSystem(f, reached), judgeClock(f, middle), judgeTime(f), judgeNames(f, all), judgePeers(f),
				judgeDisk(c, f), judgeMemory(c, f), judgePorts(c, f), judgeAccounts(c, f, reached), judgePackages(c, f), judgeSlurm(c, f, reached))
		}
		r.Hosts = append(r.Hosts, h)
	}
	r.OK = r.Count(Fail) == 0
	return r
}

// severity orders levels; the worse of two findings is shown.
func (l Level) severity() int { return slices.Index([]Level{Skipped, OK, Unknown, Warn, Fail}, l) }

// worse adds something that is not fine. All reasons and remedies are kept;
// the level is the worst of them.
func (f *Finding) worse(l Level, reason, remedy string) {
	if l.severity() > f.Level.severity() {
		f.Level = l
	}
	join := func(a, b string) string {
		if a == "" || b == "" || strings.Contains(a, b) {
			return cmp.Or(a, b)
		}
		return a + "; " + b
	}
	f.Reason, f.Remedy = join(f.Reason, reason), join(f.Remedy, remedy)
}

// fine gives the reason of a finding that has nothing against it.
func (f *Finding) fine(reason string) {
	if f.Level == OK && f.Reason == "" {
		f.Reason = reason
	}
}

func (f Finding) unknown(err error) Finding {
	f.Level, f.Reason = Unknown, err.Error()
	return f
}

func judgeReach(f *facts) Finding {
	p := f.patient
	if p.Reader == nil {
		if p.NotRoot {
			return Finding{Check: checkReach, Level: OK, Reason: "as " + p.Login}
		}
		return Finding{Check: checkReach, Level: Fail, Reason: fmt.Sprint(p.Err), Remedy: p.Remedy}
	}
	fi := Finding{Check: checkReach, Level: OK, Reason: "as " + p.Login}
	if f.own.err == nil && p.Spec.Address.IsValid() && !slices.Contains(f.own.value, p.Spec.Address.String()) {
		fi.worse(Fail, fmt.Sprintf("the machine that answers does not have the address %s, but %s", p.Spec.Address, strings.Join(f.own.value, " ")),
			"correct ip_address in the cluster file, or the network of the machine")
		fi.Asked = f.own.asked
	}
	return fi
}

func judgeRoot(f *facts) Finding {
	fi := Finding{Check: checkRoot, Level: OK}
	switch p := f.patient; {
	case p.NotRoot && p.Err != nil:
		fi.worse(Fail, p.Err.Error(), p.Remedy)
	case p.NotRoot:
		fi.worse(Fail, p.Login+" is not root there, and sudo does not make it so", "allow "+p.Login+" to sudo")
	case p.Reader == nil:
		return Finding{Check: checkRoot, Level: Unknown}
	}
	if f.patient.Login != "root" {
		fi.fine("root by sudo")
	}
	fi.fine("root")
	return fi
}

func judgeSystem(f *facts, all []*facts) Finding {
	fi := Finding{Check: checkSystem, Level: OK, Asked: append(slices.Clone(f.release.asked), f.init.asked...)}
	if f.release.err != nil {
		return fi.unknown(f.release.err)
	}
	id, version := f.release.value["ID"], f.release.value["VERSION_ID"]
	family := append([]string{id}, strings.Fields(f.release.value["ID_LIKE"])...)
	switch {
	case id == "debian" && (version == "12" || version == "13"):
	case slices.Contains(family, "debian"), slices.Contains(family, "rhel"), slices.Contains(family, "fedora"):
		fi.worse(Warn, f.system()+" is not one of those this release is tested on", "Debian 12 and 13 are")
	default:
		fi.worse(Fail, f.system()+" is not supported", "install Debian 12 or 13")
	}
	if want := strings.ToLower(f.patient.Spec.OSType); want != "" && id != "" && !strings.Contains(want, id) && !slices.ContainsFunc(family, func(x string) bool { return strings.Contains(want, x) }) {
		fi.worse(Warn, fmt.Sprintf("the cluster file says os_type %s", f.patient.Spec.OSType), "correct os_type")
	}
	if f.patient.Role == Head {
		for _, o := range all {
			if o != f && o.patient.Role == Head && o.release.err == nil && o.system() != f.system() {
				fi.worse(Warn, fmt.Sprintf("%s runs %s: services of different versions in one cluster", o.patient.Spec.Hostname, o.system()), "bring the heads to the same system")
			}
		}
	}
	switch {
	case f.init.err != nil:
		fi.worse(Fail, "systemd does not answer: "+f.init.err.Error(), "hosts need systemd")
	case len(f.init.value) > 0:
		fi.worse(Warn, "failed units: "+strings.Join(f.init.value, " "), "look at them with: systemctl status "+f.init.value[0])
	}
	fi.fine(f.system() + ", kernel " + f.kernel.value)
	return fi
}

// system is the system's name and version.
func (f *facts) system() string {
	return cmp.Or(f.release.value["NAME"], f.release.value["ID"], "an unknown system") + " " + f.release.value["VERSION_ID"]
}

// middleClock is how far the hosts' clocks are ahead of ours, in the middle:
// one clock that is wrong must not make all others look wrong, ours least.
func middleClock(reached []*facts) (middle time.Duration, note string) {
	var aheads []time.Duration
	for _, f := range reached {
		if f.clock.err == nil && f.clock.asked != nil {
			aheads = append(aheads, f.clock.value.ahead)
		}
	}
	if len(aheads) == 0 {
		return 0, ""
	}
	slices.Sort(aheads)
	middle = aheads[(len(aheads)-1)/2]
	if len(aheads) > 1 && middle.Abs() > skewWarn {
		note = fmt.Sprintf("the clock of this machine is %s %s the hosts'", middle.Abs().Round(time.Millisecond), direction(-middle))
	}
	return middle, note
}

func direction(d time.Duration) string {
	if d < 0 {
		return "behind"
	}
	return "ahead of"
}

func judgeClock(f *facts, middle time.Duration) Finding {
	fi := Finding{Check: checkClock, Level: OK, Asked: f.clock.asked}
	if f.clock.err != nil {
		return fi.unknown(f.clock.err)
	}
	off := f.clock.value.ahead - middle
	// What the round trip leaves open speaks for the clock.
	sure := max(off.Abs()-f.clock.value.rtt/2, 0)
	what := fmt.Sprintf("%s %s the others' (±%s)", off.Abs().Round(time.Millisecond), direction(off), (f.clock.value.rtt / 2).Round(100*time.Microsecond))
	const remedy = "set it once (chronyc makestep) and see that chrony runs with the same servers everywhere"
	switch {
	case sure >= skewRefuse:
		fi.worse(Fail, "its clock is "+what+": munge refuses what others sign, and they what it signs", remedy)
	case sure >= skewFail:
		fi.worse(Fail, fmt.Sprintf("its clock is %s: from %d s on munge refuses what others sign", what, int(skewRefuse.Seconds())), remedy)
	case sure >= skewWarn:
		fi.worse(Warn, "its clock is "+what, remedy)
	}
	fi.fine(what)
	return fi
}

func judgeTime(f *facts) Finding {
	fi := Finding{Check: checkTime, Level: OK, Asked: f.ntp.asked}
	if f.ntp.err != nil {
		return fi.unknown(f.ntp.err)
	}
	s := f.ntp.value
	switch {
	case s.container != "":
		fi.fine("a container (" + s.container + "): the clock is that of the machine below")
	case s.daemon == "":
		fi.worse(Warn, "no time daemon runs", "up installs chrony and sets it up (time_synchronization)")
	case !s.synchronized:
		fi.worse(Warn, s.daemon+" runs and is not synchronised yet", "check its servers with: chronyc sources")
	}
	fi.fine(s.daemon + ", synchronised")
	return fi
}

func judgeNames(f *facts, all []*facts) Finding {
	fi := Finding{Check: checkNames, Level: OK, Asked: f.names.asked}
	if f.names.err != nil {
		return fi.unknown(f.names.err)
	}
	address := map[string]string{}
	for _, o := range all {
		if o.patient.Spec.Address.IsValid() {
			address[o.patient.Spec.Hostname] = o.patient.Spec.Address.String()
		}
	}
	var lost, wrong []string
	for _, name := range sortedKeys(f.names.value) {
		found := f.names.value[name]
		switch {
		case address[name] == "" || slices.Contains(found, address[name]):
		case len(found) == 0:
			lost = append(lost, name)
		default:
			wrong = append(wrong, fmt.Sprintf("%s leads to %s and not to %s", name, strings.Join(slices.Compact(found), " "), address[name]))
		}
	}
	const remedy = "up writes the cluster's names into /etc/hosts"
	if len(lost) > 0 {
		fi.worse(Warn, "it does not know "+strings.Join(lost, ", "), remedy)
	}
	if len(wrong) > 0 {
		fi.worse(Warn, strings.Join(wrong, "; "), remedy)
	}
	fi.fine(fmt.Sprintf("knows all %d names", len(f.names.value)))
	return fi
}

func judgePeers(f *facts) Finding {
	fi := Finding{Check: checkPeers, Level: OK, Asked: f.peers.asked}
	if len(f.peers.value) == 0 {
		fi.Level = Skipped
		return fi
	}
	for _, name := range sortedKeys(f.peers.value) {
		if err := f.peers.value[name]; err != nil {
			fi.worse(Fail, fmt.Sprintf("it cannot reach %s: %v", name, err), "look for a firewall between the two, or a route that is missing")
		}
	}
	fi.fine(fmt.Sprintf("reaches all %d others", len(f.peers.value)))
	return fi
}

func judgeMemory(c *config.Cluster, f *facts) Finding {
	fi := Finding{Check: checkMemory, Level: OK, Asked: f.memory.asked}
	if f.memory.err != nil {
		return fi.unknown(f.memory.err)
	}
	m := f.memory.value
	switch f.patient.Role {
	case Head:
		switch {
		case m.totalMB < memoryFloorMB:
			fi.worse(Fail, fmt.Sprintf("%d MiB of memory: too little for a head", m.totalMB), "give it 4 GiB or more")
		case m.totalMB < memoryComfortMB:
			fi.worse(Warn, fmt.Sprintf("%d MiB of memory: tight for a head that runs everything", m.totalMB), "give it 4 GiB or more")
		}
	case Compute:
		i := slices.IndexFunc(c.AllComputes(), func(n config.ComputeNode) bool { return n.Hostname == f.patient.Spec.Hostname })
		if i < 0 {
			break
		}
		hw := c.AllComputes()[i].Hardware
		const remedy = "correct hardware in the cluster file: Slurm drains a node that has less than it is said to have"
		if hw.MemoryMB > m.totalMB {
			fi.worse(Fail, fmt.Sprintf("the file gives it %d MiB of memory, it has %d", hw.MemoryMB, m.totalMB), remedy)
		}
		if hw.CPUs > m.cpus {
			fi.worse(Fail, fmt.Sprintf("the file gives it %d CPUs, it has %d", hw.CPUs, m.cpus), remedy)
		}
	}
	fi.fine(fmt.Sprintf("%d MiB, %d available, %d CPUs", m.totalMB, m.availableMB, m.cpus))
	return fi
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
