package galera

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// Plan brings the cluster into being, or brings into it what is missing.
//
// The chain that nothing can shorten is: start the first node, then copy its data
// to one head after the other. All joiners are started together, so that all
// but the copying itself goes on beside each other: one that finds the donor
// busy asks again each second, and the donor is free as soon as it has sent.
func (s *State) Plan(intent service.Intent) (plan.Phase, error) {
	if len(s.nodes) == 0 {
		return plan.Phase{}, nil
	}
	if s.conf.Galera.SSTMethod == "mysqldump" {
		return plan.Phase{}, &service.Refusal{Service: "mariadb",
			Reason: "sst_method mysqldump needs a privileged account that lets itself in over the network with a password",
			Remedy: "Write sst_method: mariabackup under database.mariadb.galera; it needs no password and keeps the donor serving."}
	}
	d, err := s.decide(intent)
	if err != nil {
		return plan.Phase{}, err
	}
	b := builder{s: s, d: d, intent: intent}
	return b.phase()
}

// builder puts the steps of one plan together.
type builder struct {
	s      *State
	d      service.Decision
	intent service.Intent
	votes  int // witnesses that vote once the plan is carried out
	out    plan.Phase
}

// readable is a file of root's that everybody may read: it has no secret.
var readable = host.Attr{Mode: 0o644, Owner: "root", Group: "root"}

func (b *builder) phase() (plan.Phase, error) {
	if err := b.prepare(); err != nil {
		return plan.Phase{}, err
	}
	b.first()
	b.accounts()
	b.restart()
	b.join()
	b.arbiters()
	b.verify()
	b.notes()
	return b.out, nil
}

func (b *builder) stage(name string, steps ...plan.Step) {
	if len(steps) > 0 {
		b.out.Stages = append(b.out.Stages, plan.Stage{Name: name, Steps: steps})
	}
}

// nodes are those of the names given that this plan may change.
func (b *builder) nodes(names ...string) []node {
	var out []node
	for _, n := range b.s.nodes {
		if slices.Contains(names, n.name) && n.reached && b.intent.Includes(n.name) {
			out = append(out, n)
		}
	}
	return out
}

func (b *builder) all() []node {
	names := slices.Concat(b.d.Members, b.d.Joiners)
	if b.d.First != "" {
		names = append(names, b.d.First)
	}
	return b.nodes(names...)
}

// prepare installs packages and writes files, on all heads at once.
func (b *builder) prepare() error {
	members, err := b.s.members()
	if err != nil {
		return err
	}
	var steps []plan.Step
	for _, n := range b.all() {
		settings, err := b.s.settings(n)
		if err != nil {
			return err
		}
		drop, err := dropIn(n.at)
		if err != nil {
			return err
		}
		add := func(id string, a plan.Action) {
			steps = append(steps, plan.Step{ID: "mariadb." + id, Host: n.name, Action: a})
		}
		add("packages", plan.Packages{Names: b.s.packages(n)})
		add("activation", plan.Stopped(activation))
		if n.own() {
			steps = append(steps, b.stopOwn(n))
		}
		add("settings", plan.File{Path: n.at.settingsFile(), Data: settings, Attr: readable})
		add("members", plan.File{Path: n.at.membersFile(), Data: members, Attr: readable})
		add("drop-in", plan.File{Path: dropInFile, Data: drop, Attr: readable})
		add("transfer", plan.File{Path: helperFile, Data: []byte(helperText), Attr: readable})
		add("interrupted", plan.File{Path: interruptedFile, Data: []byte(interruptedText), Attr: host.Attr{Mode: 0o755}})
	}
	// A plan for the new head alone changes one thing on the others: whom they
	// look for when they start.
	for _, n := range b.s.nodes {
		if n.reached && slices.Contains(b.d.Members, n.name) && !b.intent.Includes(n.name) && len(steps) > 0 {
			steps = append(steps, plan.Step{ID: "mariadb.members", Host: n.name, Action: plan.File{Path: n.at.membersFile(), Data: members, Attr: readable}})
		}
	}
	b.stage("prepare", steps...)
	return nil
}

func (s *State) packages(n node) []string {
	out := slices.Clone(n.at.packages)
	if s.conf.Galera.SSTMethod == "rsync" {
		out = append(out, "rsync")
	}
	slices.Sort(out)
	return out
}

// stopOwn stops a server on its own before its settings change, so that undoing
// the phase starts it again last, with its old settings.
func (b *builder) stopOwn(n node) plan.Step {
	no := false
	step := plan.Step{ID: "mariadb.stop-own", Host: n.name, Action: plan.Unit{Name: unit, Active: &no, Timeout: stopLimit}}
	if n.status.schemas > 0 {
		step.Effect = fmt.Sprintf("the databases on %s do not answer until it is back as the first node of the cluster, some seconds", n.name)
	}
	return step
}

// first forms the cluster, or starts it again. Meanwhile the others are made to
// start at boot, which takes systemd most of a second.
func (b *builder) first() {
	var steps []plan.Step
	for _, n := range b.nodes(b.d.First) {
		from := b.origin(n)
		start := plan.Step{ID: "mariadb.begin", Host: n.name, Action: begin{at: n.at, from: from, was: n.disk, root: b.s.conf.RootPassword, anew: n.anew(b.s.stamp)}}
		if from == returning {
			start.Final.Why = "the cluster serves again"
		}
		steps = append(steps, start,
			b.synced("mariadb.begun", n))
	}
	if len(steps) == 0 {
		return
	}
	for _, n := range b.nodes(b.d.Joiners...) {
		steps = append(steps, atBoot(n))
	}
	b.stage("no quorum elsewhere", b.s.letGo()...)
	b.stage("begin on "+b.d.First, steps...)
}

// atBoot makes the daemon start with the host.
func atBoot(n node) plan.Step {
	yes := true
	return plan.Step{ID: "mariadb.boot", Host: n.name, Action: plan.Unit{Name: unit, Enabled: &yes}}
}

// origin is what a node that is to be started brings along.
func (b *builder) origin(n node) origin {
	switch {
	case n.own() && (n.status.schemas+n.status.accounts > 0 || n.disk.state.uuid != ""):
		return adopted
	case n.own(), n.disk.data != service.Yes:
		return fresh
	case n.disk.state.uuid == "" && !n.disk.interrupted():
		return adopted
	}
	return returning
}

// accounts makes databases and accounts on one node that is there by then.
func (b *builder) accounts() {
	candidates := b.nodes(append([]string{b.d.First}, b.d.Members...)...)
	if len(candidates) == 0 && len(b.nodes(b.d.Joiners...)) > 0 {
		// The plan is for the new head alone, and what gives it its data has
		// to know the account of state transfers.
		for _, n := range b.s.nodes {
			if n.reached && slices.Contains(b.d.Members, n.name) {
				candidates = append(candidates, n)
			}
		}
	}
	i := slices.IndexFunc(candidates, func(n node) bool { return n.name == b.d.First || n.status.synced() })
	if i < 0 {
		return
	}
	n := candidates[i]
	back := everywhere
	if n.name == b.d.First {
		back = map[origin]retraction{fresh: dropped, adopted: here, returning: everywhere}[b.origin(n)]
	}
	b.stage("databases", plan.Step{ID: "mariadb.accounts", Host: n.name, Action: b.s.keepAccounts(n, back)})
}

// join starts everybody else: all at once where the cluster was formed a moment
// ago and there is next to nothing to copy. Where there is data, as many at once
// as there are donors: a joiner that finds every donor busy waits, and gives up
// waiting long before a large copy has ended.
func (b *builder) join() {
	joiners := b.nodes(b.d.Joiners...)
	first := b.nodes(b.d.First)
	if len(joiners) == 0 {
		if len(first) > 0 {
			b.stage("at boot", atBoot(first[0]))
		}
		return
	}
	wave := len(b.donors())
	if len(first) > 0 && b.origin(first[0]) == fresh {
		wave = len(joiners)
	}
	for now := range slices.Chunk(joiners, max(wave, 1)) {
		var names []string
		var steps []plan.Step
		for _, n := range first {
			steps = append(steps, atBoot(n))
		}
		first = nil
		for _, n := range now {
			names = append(names, n.name)
			u := plan.Running(unit, n.at.settingsFile(), dropInFile)
			u.Timeout = startLimit
			step := plan.Step{ID: "mariadb.join", Host: n.name, Action: join{Unit: u, at: n.at, from: b.origin(n), root: b.s.conf.RootPassword, donors: b.donors()}}
			if b.stays() {
				step.Final.Why = "it has all data: one copy more"
			}
			steps = append(steps, step)
		}
		b.stage("join "+strings.Join(names, ", "), steps...)
	}
}

// stays says whether the cluster goes on where a head fails: one that was there
// before does, and one that this run formed does not.
func (b *builder) stays() bool {
	first := b.nodes(b.d.First)
	return len(first) == 0 || b.origin(first[0]) == returning
}

// donors are the nodes that were members before anybody joins.
func (b *builder) donors() []string {
	if b.d.First != "" {
		return []string{b.d.First}
	}
	return b.d.Members
}

// verify waits until everyone is there and sees the same size.
func (b *builder) verify() {
	nodes := b.all()
	size := b.votes + len(b.d.Members) + len(nodes)
	for _, n := range nodes {
		if slices.Contains(b.d.Members, n.name) {
			size-- // counted already
		}
	}
	var steps []plan.Step
	for _, n := range nodes {
		steps = append(steps,
			plan.Step{ID: "mariadb.donor", Host: n.name, Action: b.s.anyDonor(n)},
			plan.Step{ID: "mariadb.synced", Host: n.name, Action: b.s.await(n, size)})
	}
	b.stage("verify", steps...)
}

func (b *builder) synced(id string, n node) plan.Step {
	return plan.Step{ID: id, Host: n.name, Action: b.s.await(n, 1)}
}

// await waits until a node has all data and sees at least so many others.
func (s *State) await(n node, size int) plan.Await {
	what := "mariadbd has all data"
	if size > 1 {
		what = fmt.Sprintf("mariadbd has all data and %d nodes are in the cluster", size)
	}
	return plan.Await{
		What:    what,
		Timeout: 2 * time.Minute,
		Until: func(ctx context.Context, r host.Reader) (bool, string, error) {
			st, err := ask(ctx, r, n.at, s.conf.RootPassword)
			if err != nil {
				return false, "", err
			}
			return st.synced() && st.size >= size, fmt.Sprintf("%s, %s, %d nodes", st.component, st.sync, st.size), nil
		},
	}
}

// notes say what a person should know before saying yes.
func (b *builder) notes() {
	note := func(format string, args ...any) { b.out.Notes = append(b.out.Notes, fmt.Sprintf(format, args...)) }
	first := b.s.node(b.d.First)
	if b.d.First != "" && b.origin(first) == adopted {
		note("%s has data of a MariaDB of its own: it becomes the first node of the cluster with that data, and the other heads copy it.", first.name)
		if first.status.foreign > 0 {
			note("%d tables on %s are not InnoDB: Galera copies them once and does not replicate what is written to them later. Turn them over with ALTER TABLE … ENGINE=InnoDB.", first.status.foreign, first.name)
		}
	}
	for _, name := range b.d.Skipped {
		note("%s is left as it is: %s.", name, strings.TrimSuffix(b.s.node(name).evidence(true).Why, "."))
	}
	if b.d.Verdict == service.Form && !b.s.conf.SSTPassword.IsZero() && b.s.conf.Galera.SSTMethod == "mariabackup" {
		note("sst_user and sst_password are not used: state transfers are made as %s, which the server knows by its process (unix_socket), without a password.", transferAccount)
	}
}
