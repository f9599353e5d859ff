package galera

import (
	"context"
	"fmt"
	"slices"

	"multihead/internal/host"
	"multihead/internal/plan"
)

// restart brings changed settings into effect on nodes that run, one after the
// other, each back with all data before the next one goes. Those that lack some have
// it by the time that one is restarted that can give it.
func (b *builder) restart() {
	nodes := b.nodes(b.d.Members...)
	slices.SortStableFunc(nodes, func(n, o node) int {
		switch {
		case n.current() == o.current():
			return 0
		case n.current():
			return 1
		}
		return -1
	})
	for _, n := range nodes {
		if len(b.d.Members) == 1 {
			b.restartLast(n)
			continue
		}
		u := plan.Running(unit, n.at.settingsFile(), dropInFile)
		u.Enabled, u.Timeout, u.Then = nil, startLimit, b.s.await(n, 1)
		b.restartBy(n, u)
	}
}

// restartLast is for the only member that was found. It may be no more than the only
// one that was reached: one that has the data has to go on, and whether the others have
// it is not known. A witness has not, and left alone it keeps the quorum: the head that
// comes back would look for the other heads, for ever.
func (b *builder) restartLast(n node) {
	votes, _ := b.s.arbitersRun()
	aside := false
	switch others := n.status.size - 1; {
	case !n.due || others == 0:
	case others == votes && !slices.ContainsFunc(b.s.arbiters(), func(w voter) bool { return !b.intent.Includes(w.name) }):
		aside = true
	default:
		b.out.Notes = append(b.out.Notes, fmt.Sprintf("mariadbd on %s goes on with the settings that it has: %d others are in its cluster, and whether one of them has all data was not seen. Run up again when they can be looked at.", n.name, others))
		b.stage("at boot", atBoot(n))
		return
	}
	if aside {
		b.stepAside()
	}
	u := plan.Running(unit, n.at.settingsFile(), dropInFile)
	u.Enabled, u.Timeout = nil, startLimit
	b.restartBy(n, renew{Unit: u, at: n.at, root: b.s.conf.RootPassword})
	if aside {
		b.voteAgain()
	}
}

func (b *builder) restartBy(n node, a plan.Action) {
	b.stage("settings on "+n.name,
		atBoot(n), // a step of its own: it restarts nothing
		plan.Step{ID: "mariadb.unit", Host: n.name, Action: a, Effect: b.effectOfRestart(n)},
		b.synced("mariadb.restarted", n))
}

func (b *builder) effectOfRestart(n node) string {
	if len(b.d.Members) == 1 {
		return fmt.Sprintf("mariadbd on %s restarts, and no other head has the data yet: the database is away for some seconds", n.name)
	}
	return fmt.Sprintf("mariadbd on %s restarts; connections to it end, the other heads go on serving", n.name)
}

// restartDue says whether restart would restart a node: before it does, a witness may
// have to be asked. What cannot be looked at counts as due.
func (s *State) restartDue(ctx context.Context, r host.Reader, n node) bool {
	settings, err := s.settings(n)
	if err != nil {
		return false // there will be no plan
	}
	drop, err := dropIn(n.at)
	if err != nil {
		return false
	}
	for _, a := range []plan.Action{
		plan.File{Path: n.at.settingsFile(), Data: settings, Attr: readable},
		plan.File{Path: dropInFile, Data: drop, Attr: readable},
		plan.Running(unit, n.at.settingsFile(), dropInFile),
	} {
		if done, err := a.Done(ctx, r); !done || err != nil {
			return true
		}
	}
	return false
}
