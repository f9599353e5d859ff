package gluster

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

// observeChoice reads the record of a person's choice, and nothing where it cannot be
// read: then nothing gives way.
func observeChoice(ctx context.Context, r host.Reader, h *head, volume string) {
	if !h.brick {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	var err error
	if h.choice, err = readChoice(ctx, r, volume); err != nil {
		h.why = strings.TrimPrefix(h.why+"; "+err.Error(), "; ")
	}
}

// claimsLimit bounds how long one brick's heal index is read.
const claimsLimit = 20 * time.Second

// askClaims looks, where a choice is open, at what bricks note against each other.
func (s *State) askClaims(ctx context.Context, nodes []service.Node) {
	v := s.seen()
	if v == nil {
		return
	}
	c := s.chosen(v)
	if c == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, claimsLimit)
	defer cancel()
	for i := range s.heads {
		h := &s.heads[i]
		if !h.reached || !h.brick || !slices.Contains(c.Chosen, h.name) && !slices.ContainsFunc(c.away(), func(l leftOut) bool { return l.Head == h.name }) {
			continue
		}
		fail := func(err error) { h.why = strings.TrimPrefix(h.why+"; "+err.Error(), "; ") }
		if s.clients == nil {
			clients, err := readClients(ctx, nodes[i].Reader, s.conf.VolumeName)
			if err != nil {
				fail(err)
				continue
			}
			s.clients = clients
		}
		claims, err := indexed(ctx, nodes[i].Reader, s.conf.BrickPath)
		if err != nil {
			fail(err)
			continue
		}
		pid, err := nodes[i].Reader.Stat(ctx, pidFile(h.addr.String(), s.conf))
		if err != nil {
			fail(err)
			continue
		}
		h.claims, h.noted, h.since = claims, service.Yes, pid.ModTime
	}
}

// against is what a head's brick notes that another head's lacks, or had only begun
// to change when it ended.
func (s *State) against(h *head, other string) []inode {
	client := s.clients[s.own(s.head(other))]
	var out []inode
	for _, n := range h.claims {
		if client != "" && (!n.notes[client].none() || !n.begun().none()) {
			out = append(out, n)
		}
	}
	return out
}

// returned is a head that was left out by a choice and is back.
type returned struct {
	head   *head
	claims []inode // what it notes that a chosen copy lacks
	// Why it may have served after the choice, without the chosen copies: then it
	// has work of its own, and a person decides again. Empty where it has not.
	served string
}

// backFrom sorts the heads that were left out: those that are back, and those that
// are not, or of which that is not known.
func (s *State) backFrom(c *choice, v *volume) (back []returned, away []string) {
	for _, l := range c.away() {
		h := s.head(l.Head)
		if h == nil || !v.has(s.own(h)) {
			back = append(back, returned{head: &head{name: l.Head}}) // its brick is no part of the volume any more
			continue
		}
		r := returned{head: h}
		known := s.told(h)
		seen := map[string]bool{}
		for _, name := range c.Chosen {
			to := s.head(name)
			if to == nil || !v.has(s.own(to)) {
				continue // it has left the volume
			}
			if known = known && s.told(to); !known {
				break
			}
			if !to.since.Before(h.since) {
				r.served = "its brick began to serve before that of " + name
			}
			for _, n := range s.against(h, name) {
				if !seen[n.gfid] {
					seen[n.gfid] = true
					r.claims = append(r.claims, n)
				}
			}
		}
		if !known {
			away = append(away, l.Head)
			continue
		}
		switch {
		case l.Proof == "":
			r.served = "nothing proved that it was switched off"
		case slices.ContainsFunc(r.claims, func(n inode) bool { return n.file && n.mtime.After(h.since) }):
			r.served = "it holds files that were written since"
		}
		back = append(back, r)
	}
	return back, away
}

// told says whether a head's brick serves, and what it notes is known.
func (s *State) told(h *head) bool {
	return h.reached && h.running == service.Yes && h.noted == service.Yes && s.clients[s.own(h)] != ""
}

// giveWay has the copies that a person left out give way to the chosen one. A head
// that died some seconds after its link notes changes that the chosen copy never had;
// that copy notes its own: split-brain, which GlusterFS leaves to a person. Here the
// person has said already which copy counts. So what the left-out brick notes against
// the chosen one becomes a note of the chosen one against it, and GlusterFS heals in
// that one direction, whatever kind it is: content, attributes, entries, other files
// or directories of the same name. Regular files are kept aside first.
//
// The rule holds once for each head that was proven to be off when it was chosen, and
// came back beside a chosen copy that served all the time. Where it may have served
// without that, a person decides again.
func (s *State) giveWay(cli *head, v *volume, intent service.Intent, ph *plan.Phase) error {
	c := s.chosen(v)
	if c == nil {
		return nil
	}
	add := func(name string, steps ...plan.Step) {
		if len(steps) > 0 {
			ph.Stages = append(ph.Stages, plan.Stage{Name: name, Steps: steps})
		}
	}
	back, away := s.backFrom(c, v)
	var undecided, done []string
	var keep, mark, clear []plan.Step
	for _, r := range back {
		switch {
		case len(r.claims) == 0:
			done = append(done, r.head.name)
			continue
		case r.served != "" && !intent.Confirmed:
			undecided = append(undecided, fmt.Sprintf("%s (%d entries; %s)", r.head.name, len(r.claims), r.served))
			continue
		case !intent.Includes(r.head.name):
			away = append(away, r.head.name)
			continue
		}
		done = append(done, r.head.name)
		ph.Notes = append(ph.Notes, fmt.Sprintf("%s was left out when %s was %s: %d entries that only it changed give way.", r.head.name, copyOf(c.Chosen), c, len(r.claims)))
		keep = append(keep, s.keepAside(r, c)...)
		for _, name := range c.Chosen {
			if to := s.head(name); to != nil && v.has(s.own(to)) {
				mark = append(mark, s.markOn(to, r, c))
			}
		}
		clear = append(clear, s.clearOn(r, c))
	}
	add("what is kept aside", keep...)
	add("what counts", mark...)
	add("what gives way", clear...)
	if len(undecided) > 0 && len(ph.Stages) == 0 {
		return &service.Refusal{Service: "glusterfs",
			Reason: fmt.Sprintf("%s: left out when %s was %s, and may have served on; what is there differs", strings.Join(undecided, ", "), copyOf(c.Chosen), c),
			Remedy: "Look at it there (gluster volume heal " + s.conf.VolumeName + " info). If it is to give way all the same, run multihead recover with the cluster's name typed (--accept-data-loss NAME): its files are kept aside where they are small enough."}
	}
	off := v.Options[shdOption] == "off"
	switch {
	case len(undecided) > 0:
	case off && len(done)+len(c.LeftOut)-len(c.away()) > 0 && (len(away) == 0 || s.waitedFor(c)):
		add("heal", plan.Step{ID: "glusterfs.let-heal", Host: cli.name, Action: s.healNow(true)})
	case !off && len(mark) > 0:
		add("heal", plan.Step{ID: "glusterfs.let-heal", Host: cli.name, Action: s.healNow(false)})
	}
	if len(done) > 0 {
		next := c.with(done, s.stamp)
		what := "write down that " + strings.Join(done, ", ") + " came back"
		if next.Closed != "" {
			what += ", the last of those that were left out"
		}
		add("who is back", s.onChosen(next, "back", what,
			func(have *choice) bool { return have.At == next.At && len(have.away()) <= len(next.away()) })...)
	}
	return nil
}

// waitedFor says whether those that are not back were waited for long enough.
func (s *State) waitedFor(c *choice) bool {
	first, err1 := time.Parse(stampForm, c.Back)
	now, err2 := time.Parse(stampForm, s.stamp)
	return err1 == nil && err2 == nil && now.Sub(first) >= stragglers
}
