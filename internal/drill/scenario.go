package drill

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"multihead/internal/cluster"
	"multihead/internal/config"
	"multihead/internal/drill/clients"
	"multihead/internal/service"
)

// Role names the heads that a step is about, by what they do when the drill
// begins.
type Role string

// The roles.
const (
	Owner Role = "owner"   // holds the virtual address
	Spare Role = "standby" // the last head, in the file's order, that does not hold it
	Rest  Role = "rest"    // all but the owner
	All   Role = "all"     // every head
	Half  Role = "half"    // the owner and as many others as make half of the heads
)

// Verb is what a step does.
type Verb string

// The verbs. Each that breaks something has one that undoes it.
const (
	PowerOff  Verb = "power-off"
	PowerOn   Verb = "power-on"
	Freeze    Verb = "freeze"
	Thaw      Verb = "thaw"
	Partition Verb = "partition" // cuts the role off from all other heads; Arg limits it to some traffic, as lab.TrafficNames calls it
	OneWay    Verb = "one-way"   // what the role says to the other heads is lost
	CutOff    Verb = "cut-off"   // cuts the clients off from the role
	HealNet   Verb = "heal"
	Fill      Verb = "fill-disk"
	Free      Verb = "free-disk"
	Hold      Verb = "hold-disk"
	Release   Verb = "release-disk"
	ReadOnly  Verb = "read-only-disk" // until the power was off
	Signal    Verb = "signal"         // Arg is the signal and the unit or process
	Stall     Verb = "stall"          // SIGSTOP; a timer on the host itself sends SIGCONT
	Wait      Verb = "wait"
	Heals     Verb = "heals" // waits until the role's data is being brought up to date; For at most
)

// Step is one thing that is done to the heads of a role.
type Step struct {
	Do  Verb
	On  Role
	Nth int // 1 and up: only this one of the role's heads, in the file's order
	Arg string
	For time.Duration // Wait, Stall and Heals: how long
}

// Scenario is one way to break a cluster.
type Scenario struct {
	ID     string // as the list of faults numbers them
	Name   string
	Breaks string // for a person: what is done
	Expect string // for a person: what should come of it
	Heads  int    // the fewest heads it makes sense with
	Even   bool   // needs an even number of heads
	Lost   int    // heads that are gone at the same moment: the survival level must allow it
	Total  bool   // every head is lost: nothing serves meanwhile, and that is not held against it
	Lab    bool   // only a lab can do and undo it
	Begin  []Step
	End    []Step        // undoes it
	Hold   time.Duration // the fault lasts at least this long
	Bounds map[string]time.Duration
}

// Title is how it is written.
func (s Scenario) Title() string { return s.ID + " " + s.Name }

// Quick bounds: what a client may see where a daemon is restarted or taken over.
func daemonBounds(d time.Duration) map[string]time.Duration {
	return map[string]time.Duration{clients.VIP: d, clients.Redis: d, clients.SQL: d, clients.Volume: d, clients.Sbatch: d}
}

// powerBounds are those of a head that lost its power.
func powerBounds() map[string]time.Duration {
	return map[string]time.Duration{clients.VIP: 1500 * time.Millisecond, clients.Redis: 3 * time.Second, clients.SQL: 5 * time.Second,
		clients.Volume: 8 * time.Second, clients.Sbatch: 12 * time.Second}
}

// daemons are what F1 kills and F2 stops. A unit's whole control group gets the
// signal, a process by its name alone does.
func daemons() []struct{ name, target, service string } {
	return []struct{ name, target, service string }{
		{"slurmctld", "slurmctld.service", config.Slurm},
		{"slurmdbd", "slurmdbd.service", config.Slurm},
		{"mariadbd", "mariadb.service", config.MariaDB},
		{"redis", "redis-server@6379.service", config.Redis},
		{"glusterfsd", "process:glusterfsd", config.GlusterFS},
		{"glusterd", "process:glusterd", config.GlusterFS},
		{"keepalived", "keepalived.service", config.Keepalived},
		{"agent", "multihead-agent.service", ""},
	}
}

// Scenarios lists every fault that can be injected, in the order of their
// numbers.
func Scenarios() []Scenario {
	var out []Scenario
	for _, d := range daemons() {
		out = append(out, Scenario{ID: "F1", Name: "kill-" + d.name, Heads: 2,
			Breaks: "kill -9 of " + d.name + " on the head that holds the virtual address",
			Expect: "started again or taken over", Bounds: daemonBounds(6 * time.Second), Hold: 8 * time.Second,
			Begin: []Step{{Do: Signal, On: Owner, Arg: "KILL " + d.target}}})
	}
	out = append(out, Scenario{ID: "F1", Name: "kill-all-agents", Heads: 2,
		Breaks: "kill -9 of the agent on every head at once", Expect: "no client notices",
		Bounds: daemonBounds(2 * time.Second), Hold: 8 * time.Second,
		Begin: []Step{{Do: Signal, On: All, Arg: "KILL multihead-agent.service"}}})
	for _, d := range daemons() {
		for _, stop := range []time.Duration{5 * time.Second, 30 * time.Second} {
			out = append(out, Scenario{ID: "F2", Name: fmt.Sprintf("stall-%s-%d", d.name, int(stop.Seconds())), Heads: 2,
				Breaks: fmt.Sprintf("SIGSTOP of %s on the head that holds the virtual address for %d s, then SIGCONT", d.name, int(stop.Seconds())),
				Expect: "seen as hung; waking up late does no harm", Bounds: daemonBounds(12 * time.Second), Hold: stop + 2*time.Second,
				Begin: []Step{{Do: Stall, On: Owner, Arg: d.target, For: stop}}})
		}
	}
	return append(out, labScenarios()...)
}

// labScenarios are those that need somebody outside the hosts to undo them.
func labScenarios() []Scenario {
	off := func(name, what string, role Role, lost int) Scenario {
		return Scenario{ID: "F3", Name: name, Breaks: what, Expect: "the others take over", Lab: true, Heads: 2, Lost: lost,
			Begin: []Step{{Do: PowerOff, On: role}}, End: []Step{{Do: PowerOn, On: role}}, Hold: 15 * time.Second, Bounds: powerBounds()}
	}
	split := func(name, what string, begin []Step, lost int) Scenario {
		return Scenario{ID: "F6", Name: name, Breaks: what, Expect: "the majority serves, the minority refuses", Lab: true,
			Heads: 3, Lost: lost, Begin: begin, End: []Step{{Do: HealNet, On: All}}, Hold: 20 * time.Second, Bounds: daemonBounds(10 * time.Second)}
	}
	storage := func(name, who string, role Role) Scenario {
		return Scenario{ID: "F8", Name: name, Breaks: "cut the storage traffic between " + who + " and the other heads; all other traffic passes",
			Expect: "the others' volume serves; who does not see it takes nothing over", Lab: true, Heads: 3, Lost: 1,
			Begin: []Step{{Do: Partition, On: role, Arg: "storage"}}, End: []Step{{Do: HealNet, On: All}}, Hold: 20 * time.Second, Bounds: daemonBounds(15 * time.Second)}
	}
	list := []Scenario{
		off("power-off-vip-owner", "power off the head that holds the virtual address", Owner, 1),
		off("power-off-standby", "power off a head that does not hold the virtual address", Spare, 1),
		{ID: "F5", Name: "freeze-vip-owner", Breaks: "freeze the head that holds the virtual address; its network stays",
			Expect: "the others take over; it wakes up without harm", Lab: true, Heads: 2, Lost: 1,
			Begin: []Step{{Do: Freeze, On: Owner}}, End: []Step{{Do: Thaw, On: Owner}}, Hold: 20 * time.Second, Bounds: daemonBounds(30 * time.Second)},
		split("partition-vip-owner", "cut the head that holds the virtual address off from all others and from the clients",
			[]Step{{Do: Partition, On: Owner}, {Do: CutOff, On: Owner}}, 1),
		split("partition-vip-owner-seen", "cut the head that holds the virtual address off from the other heads; the clients see all of them",
			[]Step{{Do: Partition, On: Owner}}, 1),
		split("cut-clients", "cut the clients off from the head that holds the virtual address; the heads hear each other",
			[]Step{{Do: CutOff, On: Owner}}, 0),
	}
	clients := &list[len(list)-1]
	clients.Expect = "known: nobody inside sees it, so only the clients' end of the cut makes it serve again"
	clients.Bounds, clients.Hold = nil, 10*time.Second
	half := split("partition-half", "cut the heads into two halves", []Step{{Do: Partition, On: Half}}, 0)
	half.Heads, half.Even, half.Total, half.Expect, half.Bounds = 4, true, true, "no majority: both halves refuse, or with a witness one serves", nil
	list = append(list, half,
		Scenario{ID: "F7", Name: "one-way-vip-owner", Breaks: "the other heads no longer hear the head that holds the virtual address, which hears them",
			Expect: "never two that serve", Lab: true, Heads: 3, Lost: 1, Begin: []Step{{Do: OneWay, On: Owner}},
			End: []Step{{Do: HealNet, On: All}}, Hold: 20 * time.Second, Bounds: daemonBounds(15 * time.Second)},
		storage("cut-storage-vip-owner", "the head that holds the virtual address", Owner),
		storage("cut-storage-standby", "a head that does not hold the virtual address", Spare),
		Scenario{ID: "F11", Name: "disk-full-vip-owner", Breaks: "the data disk of the head that holds the virtual address is full",
			Expect: "the others go on; it resumes by itself", Lab: true, Heads: 2, Lost: 1, Begin: []Step{{Do: Fill, On: Owner, Arg: "data"}},
			End: []Step{{Do: Free, On: Owner, Arg: "data"}}, Hold: 20 * time.Second, Bounds: daemonBounds(30 * time.Second)},
		Scenario{ID: "F12", Name: "disk-hangs-vip-owner", Breaks: "every write to the data disk of the head that holds the virtual address hangs",
			Expect: "the others go on", Lab: true, Heads: 2, Lost: 1, Begin: []Step{{Do: Hold, On: Owner, Arg: "data"}},
			End: []Step{{Do: Release, On: Owner, Arg: "data"}}, Hold: 30 * time.Second, Bounds: daemonBounds(30 * time.Second)},
		Scenario{ID: "F13", Name: "read-only-vip-owner", Breaks: "the data disk of the head that holds the virtual address turns read-only, until it was off and on",
			Expect: "its roles leave it", Lab: true, Heads: 2, Lost: 1, Begin: []Step{{Do: ReadOnly, On: Owner, Arg: "data"}},
			End:  []Step{{Do: PowerOff, On: Owner}, {Do: PowerOn, On: Owner}},
			Hold: 20 * time.Second, Bounds: daemonBounds(30 * time.Second)})
	return append(list, totals()...)
}

// totals are the losses of all power, and of one head after another.
func totals() []Scenario {
	dark := func(name, what string, end ...Step) Scenario {
		return Scenario{ID: "F14", Name: name, Breaks: what, Expect: "green by itself within 120 s of the last boot", Lab: true, Heads: 2,
			Total: true, Begin: []Step{{Do: PowerOff, On: All}}, End: end, Hold: 3 * time.Second}
	}
	return []Scenario{
		dark("all-off-on-together", "all heads lose power and come back together", Step{Do: PowerOn, On: All}),
		dark("all-off-on-staggered", "all heads lose power and come back one after the other, 15 s apart",
			Step{Do: PowerOn, On: All, Nth: 1}, Step{Do: Wait, For: 15 * time.Second}, Step{Do: PowerOn, On: All, Nth: 2},
			Step{Do: Wait, For: 15 * time.Second}, Step{Do: PowerOn, On: All}),
		{ID: "F14", Name: "in-turn-oldest-first", Breaks: "the heads lose power 10 s apart, and the one that was off longest comes back first",
			Expect: "what was acknowledged after it went is there", Lab: true, Heads: 3, Total: true, Hold: 3 * time.Second,
			Begin: []Step{{Do: PowerOff, On: All, Nth: 1}, {Do: Wait, For: 10 * time.Second}, {Do: PowerOff, On: All, Nth: 2},
				{Do: Wait, For: 10 * time.Second}, {Do: PowerOff, On: All}},
			End: []Step{{Do: PowerOn, On: All, Nth: 1}, {Do: Wait, For: 15 * time.Second}, {Do: PowerOn, On: All, Nth: 2},
				{Do: Wait, For: 15 * time.Second}, {Do: PowerOn, On: All}}},
		{ID: "F21", Name: "second-dies-while-first-heals", Breaks: "a head loses power and comes back; the moment it is up, the head with the virtual address loses power",
			Expect: "serves on with what quorum is left, or stops safely", Lab: true, Heads: 3, Lost: 1, Total: true, Hold: 15 * time.Second,
			Begin: []Step{{Do: PowerOff, On: Spare}, {Do: Wait, For: 15 * time.Second}, {Do: PowerOn, On: Spare}, {Do: PowerOff, On: Owner}, {Do: Wait, For: 15 * time.Second}},
			End:   []Step{{Do: PowerOn, On: Owner}}},
		{ID: "F21", Name: "second-dies-during-heal", Breaks: "a head loses power and comes back; while its database or its copy of the volume is brought up to date, the head with the virtual address loses power",
			Expect: "serves on with what quorum is left, or stops safely", Lab: true, Heads: 3, Lost: 1, Total: true, Hold: 15 * time.Second,
			Begin: []Step{{Do: PowerOff, On: Spare}, {Do: Wait, For: 30 * time.Second}, {Do: PowerOn, On: Spare}, {Do: Heals, On: Spare, For: time.Minute}, {Do: PowerOff, On: Owner}, {Do: Wait, For: 15 * time.Second}},
			End:   []Step{{Do: PowerOn, On: Owner}}},
	}
}

// Find looks scenarios up by name, or by number, which stands for all of that
// number.
func Find(args []string) ([]Scenario, error) {
	var out []Scenario
	all := Scenarios()
	for _, a := range args {
		found := false
		for _, s := range all {
			if strings.EqualFold(s.Name, a) || strings.EqualFold(s.ID, a) || strings.EqualFold(s.ID+"-"+s.Name, a) {
				found = true
				if !slices.ContainsFunc(out, func(o Scenario) bool { return o.Name == s.Name }) {
					out = append(out, s)
				}
			}
		}
		if !found {
			return nil, fmt.Errorf("there is no drill %q; multihead drill list shows them", a)
		}
	}
	return out, nil
}

// Cast is which heads play which role.
type Cast struct {
	Heads   []string // in the file's order
	Owner   string
	Primary string // of Slurm, to be told; empty where it is not known
}

// CastOf reads the roles from what was observed.
func CastOf(s cluster.Status) Cast {
	c := Cast{Owner: s.VIPOwner}
	for _, h := range s.Heads {
		c.Heads = append(c.Heads, h.Hostname)
		if h.Services[config.Slurm].Role == "primary" {
			c.Primary = h.Hostname
		}
	}
	return c
}

// Of lists the heads of a role.
func (c Cast) Of(r Role) []string {
	var rest []string
	for _, h := range c.Heads {
		if h != c.Owner {
			rest = append(rest, h)
		}
	}
	switch r {
	case Owner:
		return []string{c.Owner}
	case Rest:
		return rest
	case Spare:
		return rest[max(0, len(rest)-1):]
	case All:
		return c.Heads
	case Half:
		return append([]string{c.Owner}, rest[:max(0, len(c.Heads)/2-1)]...)
	}
	return nil
}

// On lists the heads that a step is about.
func (c Cast) On(s Step) []string {
	heads := c.Of(s.On)
	if s.Nth > 0 {
		if s.Nth > len(heads) {
			return nil
		}
		return heads[s.Nth-1 : s.Nth]
	}
	return heads
}

// Victims are all heads that the scenario does something to.
func (s Scenario) Victims(c Cast) []string {
	var out []string
	for _, st := range s.Begin {
		for _, h := range c.On(st) {
			if !slices.Contains(out, h) {
				out = append(out, h)
			}
		}
	}
	return out
}

// Refused says why a scenario may not be run on a cluster that is so, nil if it
// may. inLab says that the hosts are a lab's.
func (s Scenario) Refused(st cluster.Status, inLab bool) error {
	switch c := CastOf(st); {
	case s.Lab && !inLab:
		return fmt.Errorf("%s: only in a lab: nobody outside the hosts could undo it (multihead --lab=NAME drill run %s)", s.Name, s.Name)
	case len(c.Heads) < s.Heads:
		return fmt.Errorf("%s: needs %d heads; there are %d", s.Name, s.Heads, len(c.Heads))
	case s.Even && len(c.Heads)%2 != 0:
		return fmt.Errorf("%s: needs an even number of heads; there are %d", s.Name, len(c.Heads))
	case st.State != service.Up:
		return fmt.Errorf("%s: the cluster is %s before anything is broken (%s); multihead status says more", s.Name, st.State, strings.Join(st.NotUp(), ", "))
	case c.Owner == "":
		return fmt.Errorf("%s: no head holds the virtual address", s.Name)
	case s.Lost > st.Survives.AtOnce:
		return fmt.Errorf("%s: it takes %d heads at once, and the cluster can lose %d (limited by %s)", s.Name, s.Lost, st.Survives.AtOnce, strings.Join(st.Survives.Weakest, ", "))
	}
	return nil
}
