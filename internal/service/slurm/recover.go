package slurm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

var _ service.Recoverer = (*State)(nil)

// past is what systemd remembers of a unit since its host booted.
type past struct {
	ran    service.Answer // it has been active since then
	failed bool           // it does not run because it failed
	itself bool           // it does not run because it ended, in order, without being stopped
	queued bool           // systemd is to start it, and waits for something else
}

// lookPast asks for it. systemd forgets units that do not run and that nothing
// refers to; see keepDropIn.
func lookPast(ctx context.Context, r host.Reader, unit string) (past, error) {
	out, err := r.Query(ctx, "systemctl", "show", "--property=ActiveState,ActiveEnterTimestampMonotonic,Job", unit)
	if err != nil {
		return past{}, err
	}
	p := parsePast(out)
	if p.ran == service.Yes && !p.failed {
		p.itself, err = endedItself(ctx, r, unit)
	}
	return p, err
}

// What systemd notes when it has started a unit and when it has stopped one that it
// was told to (systemd.journal-fields(7), sd-messages.h); a daemon that ends by itself
// is neither.
const (
	noteStarted = "39f53479d3a045ac8e11786248231fbf"
	noteStopped = "9d1aaa27d60140bd96365438aad20286"
)

// endedItself says whether the last that systemd noted of a unit since the boot is
// that it was started. slurmctld ends in order also where another controller tells it
// to: one that takes charge late tells those that have come to stand by meanwhile.
// Where the journal says nothing it was stopped.
func endedItself(ctx context.Context, r host.Reader, unit string) (bool, error) {
	out, err := r.Query(ctx, "journalctl", "-b", "--no-pager", "--lines=1", "--output=json", "--output-fields=MESSAGE_ID",
		"UNIT="+unit, "MESSAGE_ID="+noteStarted, "MESSAGE_ID="+noteStopped)
	if exited(err) {
		return false, nil // no journal, or none that can be read
	}
	return strings.Contains(out, noteStarted), err
}

func parsePast(out string) past {
	var p past
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch {
		case key == "ActiveState":
			p.failed = value == "failed"
		case key == "Job":
			p.queued = value != "" && value != "0"
		case key != "ActiveEnterTimestampMonotonic" || value == "":
		case value == "0":
			p.ran = service.No
		default:
			p.ran = service.Yes
		}
	}
	return p
}

// startable says whether a unit in this state may be started without a person: it
// has not run since the host booted, it failed, or it ended by itself. One that ran
// and was stopped was stopped by somebody; one that is starting is systemd's to start.
func (p past) startable(state string) bool {
	return !p.queued && (state == "failed" || state == "inactive" && (p.ran == service.No || p.failed || p.itself))
}

// Recover starts slurmctld where it has not run since the head booted, or has
// failed: systemd does not start it at boot, for nothing but this sees that the
// volume is the volume and the state on it the cluster's.
//
// Where nobody serves, the first of them in the order of the file begins: as the
// primary it serves at once, while a backup first waits for signs of life, and
// would have to hand over again when the primary comes. The others start once
// it is in charge.
func (s *State) Recover(intent service.Intent) (plan.Phase, error) {
	var ph plan.Phase
	var fit []head
	serves := false
	dbd := plan.Stage{Name: "accounting"}
	for _, h := range s.heads {
		if !h.controller || !h.reached {
			continue
		}
		serves = serves || h.listens == service.Yes
		if !intent.Includes(h.name) {
			continue
		}
		if s.dbdPlace(h) >= 0 && h.dbdPast.startable(h.units[dbdUnit]) {
			// Not waited for: its start may be queued behind its database's.
			dbd.Steps = append(dbd.Steps, step(h.name, "dbd.recover", launch(dbdUnit, "--no-block")))
		}
		if !h.ctldPast.startable(h.units[ctldUnit]) {
			continue
		}
		if err := h.fits(clusterName(s.cluster)); err != nil {
			return ph, err
		}
		if why := s.unready(h); why != "" {
			ph.Notes = append(ph.Notes, fmt.Sprintf("slurmctld on %s is not started: %s", h.name, why))
			continue
		}
		fit = append(fit, h)
	}
	if len(dbd.Steps) > 0 {
		ph.Stages = append(ph.Stages, dbd)
	}
	beatless := s.beatless(intent)
	if !serves && len(fit) > 0 {
		first := fit[0]
		if beatless != nil { // a backup that begins alone takes charge by its age
			ph.Stages = append(ph.Stages, plan.Stage{Name: "heartbeat", Steps: []plan.Step{s.putsBack(*beatless)}})
		}
		ph.Stages = append(ph.Stages, plan.Stage{Name: "first controller", Steps: []plan.Step{
			step(first.name, "ctld.recover", launch(ctldUnit)),
			// Or another, which could not read the state a moment ago.
			step(first.name, "ctld.in-charge", s.awaitTakesCharge(first, anyPlace)),
		}})
		fit = fit[1:]
	}
	if in := s.inWay(); in != nil && intent.Includes(in.name) {
		hand := plan.Stage{Name: "hand over", Steps: []plan.Step{{ID: "slurm.ctld.give-way", Host: in.name, Action: s.giveWay(*in),
			Effect: "sbatch and squeue wait for some seconds"}}}
		switch first := s.heads[0]; {
		case len(fit) > 0 && fit[0].index == 0 && fit[0].ctldPast.failed:
			// It may fail again: the one that serves does not stop for it.
		case len(fit) > 0 && fit[0].index == 0:
			hand.Steps = append(hand.Steps, step(first.name, "ctld.recover", s.afterwards(*in, launch(ctldUnit))), step(first.name, "ctld.in-charge", s.awaitTakesCharge(first, first.place())))
			ph.Stages, fit = append(ph.Stages, hand), fit[1:]
		case s.waits(first):
			hand.Steps = append(hand.Steps, step(first.name, "ctld.in-charge", s.awaitTakesCharge(first, first.place())))
			ph.Stages = append(ph.Stages, hand)
		}
	}
	others := plan.Stage{Name: "other controllers"}
	for _, h := range fit {
		others.Steps = append(others.Steps,
			step(h.name, "ctld.recover", launch(ctldUnit)),
			step(h.name, "ctld.serves", awaitPort("slurmctld on "+h.name+" takes connections", ctldPort)))
	}
	if len(others.Steps) > 0 {
		ph.Stages = append(ph.Stages, others)
	}
	if beatless != nil && serves {
		ph.Stages = append(ph.Stages, plan.Stage{Name: "heartbeat", Steps: []plan.Step{s.putsBack(*beatless)}})
	}
	return ph, nil
}

// beatless is a head that sees the state, no heartbeat in it, and what one is to be made
// of, where no head sees one; nil where one does. A controller that is alone writes none.
func (s *State) beatless(intent service.Intent) *head {
	if len(s.cluster.SlurmControllers()) < 2 {
		return nil
	}
	var out *head
	for i := range s.heads {
		h := &s.heads[i]
		switch {
		case !h.reached || h.state.data != service.Yes:
		case h.state.beat != nil:
			return nil
		case out == nil && h.state.torn != "" && intent.Includes(h.name):
			out = h
		}
	}
	return out
}

// unready says what slurmctld's state still lacks on a head; empty is nothing. It
// takes a name that can be read for the state: of a file that is not healed yet,
// or whose copies differ, GlusterFS gives an error or nothing, and asking it for
// all that it has to heal takes seconds.
func (s *State) unready(h head) string {
	mount, isShared := shared(s.cluster)
	if !isShared && len(s.cluster.SlurmControllers()) > 1 {
		return s.cluster.Slurm.StateSaveLocation + " is not on storage that all controllers see"
	}
	switch {
	case isShared && h.mounted != service.Yes:
		return mount + " is not mounted"
	case h.state.data == service.Unsure:
		return h.state.why
	case h.state.data == service.No:
		return "there is no state of a cluster in " + h.state.path
	case h.marked != service.Yes:
		return path.Join(h.state.path, marker) + " is not there"
	}
	return ""
}

// launch starts a unit. What failed later does not stop it again: a stop in order
// would count as a person's.
func launch(unit string, options ...string) plan.Action {
	return plan.Func{
		What: "start " + unit, Kind: plan.Change,
		Satisfied: func(ctx context.Context, r host.Reader) (bool, error) {
			states, err := host.UnitStates(ctx, r, unit)
			return err == nil && running(states[unit]), err
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			if _, err := h.Run(ctx, host.Command("systemctl", "reset-failed", unit)); err != nil && !exited(err) {
				return nil, err // a unit that is not loaded has nothing to reset, and says so
			}
			_, err := h.Run(ctx, host.Command(append(append([]string{"systemctl", "start"}, options...), unit)...))
			if exited(err) {
				out, _ := h.Query(ctx, "journalctl", "--unit="+unit, "--lines=5", "--no-pager", "--output=cat")
				return nil, fmt.Errorf("%w\n  its journal ends with: %s", err, strings.TrimSpace(out))
			}
			return nil, err
		},
	}
}

func exited(err error) bool { return errors.As(err, new(*host.ExitError)) }

// anyPlace is the index of whoever is in charge.
const anyPlace = -1

// unreadableFor is after how long a heartbeat that is there and cannot be read is one for
// the volume's recovery, which comes with the next look: where the bricks have it as
// different files, no waiting has it read.
const unreadableFor = 10 * time.Second

// awaitTakesCharge waits until the head's controller serves and has written a
// heartbeat of its own, with that index.
func (s *State) awaitTakesCharge(h head, index int) plan.Await {
	listens := awaitPort("", ctldPort)
	alone := len(s.cluster.SlurmControllers()) < 2
	before := h.state.beat // the dead one's
	var refused time.Time  // since when its heartbeat cannot be read
	return plan.Await{
		What: "slurmctld on " + h.name + " is in charge", Timeout: 90 * time.Second,
		Until: func(ctx context.Context, r host.Reader) (bool, string, error) {
			ok, state, err := listens.Until(ctx, r)
			if !ok || err != nil || alone {
				return ok, state, err
			}
			b, err := readHeartbeat(ctx, r, h.state.path)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				refused = time.Time{}
				return false, "it has written no heartbeat yet", nil
			case err != nil && refused.IsZero():
				refused = time.Now()
				return false, "", err
			case err != nil && time.Since(refused) > unreadableFor:
				return false, "", plan.Never(err)
			case err != nil:
				return false, "", err
			}
			refused = time.Time{}
			if before == nil && index == anyPlace {
				before = &b
			}
			fresh := before == nil || b.at.After(before.at)
			return fresh && (index == anyPlace || b.index == index), "it has not taken over yet", nil
		},
	}
}

// past looks at what decides whether a daemon that does not run may be started.
func (h *head) past(ctx context.Context, c *config.Cluster) {
	var err error
	if !running(h.units[ctldUnit]) {
		mount, _ := shared(c)
		if h.ctldPast, err = lookPast(ctx, h.reader, ctldUnit); err == nil {
			err = h.lookReady(ctx, mount)
		}
	}
	if err == nil && h.stores && !running(h.units[dbdUnit]) {
		h.dbdPast, err = lookPast(ctx, h.reader, dbdUnit)
	}
	if err != nil && h.state.why == "" {
		h.state.why = err.Error()
	}
}

// lookReady looks at what slurmctld needs before it may start.
func (h *head) lookReady(ctx context.Context, mount string) error {
	if mount != "" {
		is, err := mounted(ctx, h.reader, mount)
		if err != nil {
			return err
		}
		if h.mounted = service.No; is {
			h.mounted = service.Yes
		}
	}
	_, err := h.reader.Stat(ctx, path.Join(h.state.path, marker))
	switch {
	case err == nil:
		h.marked = service.Yes
	case errors.Is(err, fs.ErrNotExist):
		h.marked = service.No
	default:
		return err
	}
	return nil
}

// keepDropIn makes systemd remember that slurmctld ran. It forgets a unit that has
// stopped and that nothing refers to, as one that is not started at boot; then
// one that a person stopped would look like one that has not run yet. An order
// refers to it, and has nothing else to say.
const keepDropIn = `# Managed by multihead; changes are overwritten.
# An order, no start: it has systemd remember that slurmctld ran since the boot.
[Unit]
After=slurmctld.service
`

const keepPath = dropInDir + "multi-user.target.d/multihead-slurmctld.conf"
