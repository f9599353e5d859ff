package agent

import (
	"maps"
	"slices"
	"time"

	"multihead/internal/config"
	"multihead/internal/fence"
)

// hears are the peers that are heard. The caller holds the mutex.
func (a *Agent) hears(now time.Time) []string {
	var out []string
	for _, name := range a.electorate.Peers {
		if p, ok := a.peers[name]; ok && now.Sub(p.at) <= freshFor {
			out = append(out, name)
		}
	}
	return out
}

// scene is what the decision sees. The caller holds the mutex.
func (a *Agent) scene(now time.Time) fenceScene {
	e, back := a.living(now), a.returns(now)
	s := fenceScene{Self: a.Name, Heads: e.Heads, Silent: map[string]silentPeer{}, Hears: map[string][]string{}, Returning: back, Outside: a.fencing.outside}
	var ages []time.Duration
	for _, name := range e.Peers {
		if !slices.Contains(e.Heads, name) {
			s.Witnesses = append(s.Witnesses, name)
		}
		p, ever := a.peers[name]
		age := now.Sub(a.fencing.began)
		if ever {
			age = now.Sub(p.at)
			ages = append(ages, age)
		}
		if ever && age <= freshFor {
			s.Hears[name] = p.Hears
			continue
		}
		_, returns := back[name]
		s.Silent[name] = silentPeer{For: age, NoAgent: len(fence.Devices(a.Cluster.Fencing, name)) == 0, Never: !ever, Back: returns,
			Maintained: p.Verdict.Maintained, Left: p.Leaving, Lives: a.fencing.knocks[name].lives(now)}
	}
	voters := len(e.Peers) + 1
	quorum := voters/2 + 1
	s.LostFor = lostFor(ages, quorum)
	if voters-len(s.Silent) >= quorum {
		clear(a.fencing.looks)
		clear(a.fencing.lapsed)
	}
	for name, p := range s.Silent {
		l := a.fencing.looks[name]
		inTime := l != nil && !l.pending && l.power != "" && l.lost <= lookWindow
		p.Off = inTime && l.power == fence.Off
		p.Looked = inTime && l.power != fence.Unknown || s.LostFor > lookWindow
		if p.Says = "its device was not asked in time"; l != nil && l.says != "" {
			p.Says = l.says
		}
		s.Silent[name] = p
		// Where it has not been asked yet, it may turn out to be off.
		if p.Looked && !p.Off {
			a.fencing.lapsed[name] = true
		}
	}
	for name := range a.fencing.lapsed {
		if _, heard := s.Hears[name]; heard {
			s.Lapsed = append(s.Lapsed, name)
		}
	}
	slices.Sort(s.Lapsed)
	s.NoService, s.NoServiceFor = a.noService(s, now)
	return s
}

// returns are the heads that are proven off, and for how long they have had power
// again. The caller holds the mutex.
func (a *Agent) returns(now time.Time) map[string]time.Duration {
	returning, out := a.returning(now), map[string]time.Duration{}
	maps.DeleteFunc(a.fencing.back, func(name string, _ time.Time) bool { return !returning[name] })
	for name := range returning {
		if a.fencing.back[name].IsZero() {
			a.fencing.back[name] = now
		}
		out[name] = now.Sub(a.fencing.back[name])
	}
	return out
}

// noService finds the service that all heads of this side have been without for
// longest. The caller holds the mutex.
func (a *Agent) noService(s fenceScene, now time.Time) (name string, since time.Duration) {
	for _, svc := range []string{config.GlusterFS, config.MariaDB, config.Redis} {
		broken := a.bad[svc] != "" && len(s.Silent) > 0
		for _, h := range s.Heads {
			if _, silent := s.Silent[h]; !silent && h != a.Name && a.Cluster.Runs(h, svc) && a.peers[h].Verdict.Bad[svc] == "" {
				broken = false
			}
		}
		if !broken {
			a.fencing.well[svc] = a.fencing.well[svc] || len(s.Silent) == 0 || a.bad[svc] == ""
			delete(a.fencing.broken, svc)
			continue
		}
		if !a.fencing.well[svc] {
			continue // it has not come up yet since this agent began
		}
		if a.fencing.broken[svc].IsZero() {
			a.fencing.broken[svc] = now
		}
		if d := now.Sub(a.fencing.broken[svc]); name == "" || d > since {
			name, since = svc, d
		}
	}
	return name, since
}
