package galera

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/plan"
)

// join starts a node that becomes part of a cluster that lives. The start ends
// when it has all data.
//
// Data comes from nodes that were members before. One that has only just joined
// is taken as a donor by Galera as well, and was seen to fail in it: its own
// history ends some write sets short of what the joiner waits for, or its
// tables are being altered by mariadb-upgrade. Galera is told on disk, for this
// start alone; afterwards anybody may be the donor again.
type join struct {
	plan.Unit
	at     layout
	from   origin
	root   config.Secret
	donors []string // names of nodes
}

func (j join) String() string {
	if j.from == returning {
		return "start mariadbd, which is sent what it missed"
	}
	return "start mariadbd, which is sent all data"
}

// Done says whether the daemon runs with its files and is part of a cluster.
func (j join) Done(ctx context.Context, r host.Reader) (bool, error) {
	if ok, err := j.Unit.Done(ctx, r); !ok || err != nil {
		return false, err
	}
	s, err := ask(ctx, r, j.at, j.root)
	return err == nil && s.primary(), err
}

// Do starts it. A start that failed is ended at once: systemd would try again,
// and a node that goes while it is half in counts as one that died, which takes
// the quorum from a cluster that it makes the second of. A member that is back and
// lacks some data after a while goes on: it is sent it.
func (j join) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	if s, err := ask(ctx, h, j.at, j.root); err == nil && s.component == disconnected {
		if err := halt(ctx, h); err != nil {
			return nil, err
		}
	}
	undo, err := j.start(ctx, h, strings.Join(j.donors, ","))
	if errors.Is(err, errNoDonor) {
		// What was seen: a donor that was cut off for a moment while it sent
		// stays a donor for good, and asked by its name sends to nobody. An
		// empty last name means anybody.
		plan.Tell(ctx, "nobody sends data; asks everybody")
		var more plan.Action
		more, err = j.start(ctx, h, strings.Join(j.donors, ",")+",")
		undo = plan.Both(undo, more)
	}
	if errors.Is(err, errNoDonor) {
		err = fmt.Errorf("%s asked for data for %s, twice, and no member sent any: one that answers SHOW STATUS LIKE 'wsrep_local_state_comment' with Donor/Desynced while it sends to nobody has lost its way and wants a restart (systemctl restart %s there): %w",
			h.Name(), unheard, unit, err)
	} else if err == nil {
		err = j.settle(ctx, h)
	}
	if err != nil && j.from == returning && j.isIn(ctx, h) {
		undo = nil
		err = fmt.Errorf("it goes on, and is left to it: %w", err)
	} else if err != nil {
		err = errors.Join(err, j.end(context.WithoutCancel(ctx), h))
	}
	err = errors.Join(err, h.Remove(context.WithoutCancel(ctx), j.at.joinFile()))
	if undo == nil || j.from == returning {
		return undo, err
	}
	return plan.Both(leave{at: j.at, from: j.from}, undo), err
}

// isIn says whether the node is part of a cluster with quorum.
func (j join) isIn(ctx context.Context, h host.Host) bool {
	s, err := ask(context.WithoutCancel(ctx), h, j.at, j.root)
	return err == nil && s.primary()
}

// end stops a daemon whose start failed. That of a member does not forget that it
// failed, and one that is in no cluster with quorum need not leave in order: an orderly stop
// counts as a person's, and the agents would not bring it back.
func (j join) end(ctx context.Context, h host.Host) error {
	if j.from != returning {
		return halt(ctx, h)
	}
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	if s, err := ask(ctx, h, j.at, j.root); err == nil && !s.primary() {
		if _, err := h.Run(ctx, host.Command("systemctl", "kill", "--signal=SIGKILL", unit)); err != nil {
			return err
		}
	}
	_, err := h.Run(ctx, host.Command("systemctl", "stop", unit))
	return err
}

// start starts the daemon, for the donors given, until it has all data.
func (j join) start(ctx context.Context, h host.Host, donors string) (undo plan.Action, err error) {
	only := fmt.Sprintf("# Managed by multihead; it is removed when the node has joined.\n[mysqld]\nwsrep_sst_donor = %q\n", donors)
	if err := h.WriteFile(ctx, j.at.joinFile(), []byte(only), readable); err != nil {
		return nil, err
	}
	err = heard(ctx, h, unheardEvery, unheard, func(ctx context.Context) (err error) {
		undo, err = j.Unit.Do(ctx, h)
		return err
	})
	return undo, err
}

const (
	// settles is how long a node that has started may take to have all data.
	settles = 2 * time.Minute
	// restarts is how often one that left the cluster again is restarted.
	restarts = 3
)

// settle waits until the node has all data. Where several heads join at once
// and the donor lags behind their coming and going, Galera is seen to end the
// transfer some write sets short ("IST didn't contain all write sets"): the
// daemon then runs on outside the cluster, and its own log asks for a restart,
// after which it is sent the rest.
func (j join) settle(ctx context.Context, h host.Host) error {
	var last string
	until := time.Now().Add(settles)
	for left := restarts; ; {
		s, err := ask(ctx, h, j.at, j.root)
		switch {
		case err != nil:
			last = err.Error()
		case s.synced():
			return nil
		case s.component == disconnected && left > 0:
			left--
			if _, err := h.Run(ctx, host.Command("systemctl", "restart", unit)); err != nil {
				return explain(ctx, h, err)
			}
			until = time.Now().Add(settles)
			continue
		default:
			last = s.component + ", " + s.sync
		}
		if time.Now().After(until) {
			return explain(ctx, h, fmt.Errorf("%s: mariadbd did not get all data in %s (last seen: %s)", h.Name(), settles, last))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(settleEvery):
		}
	}
}

// Preview counts it as something new.
func (j join) Preview(ctx context.Context, r host.Reader) (plan.Preview, error) {
	if j.from == fresh {
		return plan.Preview{Kind: plan.Add}, nil
	}
	return j.Unit.Preview(ctx, r)
}

// anyDonor lets every member give a node its data, or those that the file names.
// It is what a join ends with, and what a run that was killed may have left.
func (s *State) anyDonor(n node) plan.Action {
	want := s.conf.Config["wsrep_sst_donor"]
	return plan.Func{
		What: "let every member give it data",
		Kind: plan.Change,
		Satisfied: func(ctx context.Context, r host.Reader) (bool, error) {
			if done, err := (plan.Absent{Path: n.at.joinFile()}).Done(ctx, r); !done || err != nil {
				return false, err
			}
			st, err := ask(ctx, r, n.at, s.conf.RootPassword)
			return err == nil && st.donor == want, err
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			if err := h.Remove(ctx, n.at.joinFile()); err != nil {
				return nil, err
			}
			db, err := connect(ctx, h, n.at, s.conf.RootPassword)
			if err != nil {
				return nil, fmt.Errorf("%s: mariadbd: %w", h.Name(), err)
			}
			defer db.Close()
			_, err = db.ExecContext(ctx, "SET GLOBAL wsrep_sst_donor = ?", want)
			return nil, err
		},
	}
}
