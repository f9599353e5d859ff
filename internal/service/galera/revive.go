package galera

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/go-sql-driver/mysql"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// position finds out how far the data of a node goes that was not stopped in
// order, and leaves what an orderly stop would have left: a daemon that does not
// run, and its position on disk.
//
// The daemon is killed and not stopped: one that looks for the others takes its
// knowledge of the last component with quorum away when it is stopped, and a
// person's orderly stop can be told from ours. Commits are on disk before they
// are acknowledged, so nothing is lost by it.
type position struct {
	at   layout
	root config.Secret
}

func (p position) String() string {
	return "stop mariadbd, which serves nobody, and find out how far its data goes"
}

// Done says whether the daemon does not run and its position is on disk.
func (p position) Done(ctx context.Context, r host.Reader) (bool, error) {
	active, err := activity(ctx, r)
	if err != nil {
		return false, err
	}
	if active != "inactive" && active != "failed" {
		return false, nil
	}
	d := lookDisk(ctx, r, p.at.dataDir)
	if d.data == service.Unsure {
		return false, errors.New(d.why)
	}
	return d.goesTo().seqno >= 0 || d.found == nowhere, nil
}

// Do kills the daemon unless it serves by now.
func (p position) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	if s, err := ask(ctx, h, p.at, p.root); err == nil && s.primary() {
		plan.Tell(ctx, "it serves again by itself")
		return nil, nil
	}
	active, err := activity(ctx, h)
	if err != nil {
		return nil, err
	}
	if active == "deactivating" {
		return nil, fmt.Errorf("%s: somebody is stopping mariadbd; run again", h.Name())
	}
	if active != "inactive" && active != "failed" {
		// There may be nothing to kill, between two attempts of systemd to start it.
		_, _ = h.Run(ctx, host.Command("systemctl", "kill", "--signal=SIGKILL", unit))
	}
	// Whatever it was, systemd tries no more.
	if _, err := h.Run(ctx, host.Command("systemctl", "stop", unit)); err != nil {
		return nil, err
	}
	d := lookDisk(ctx, h, p.at.dataDir)
	switch {
	case d.data == service.Unsure:
		return nil, fmt.Errorf("%s: %s", h.Name(), d.why)
	case d.state.uuid == "" && !d.interrupted() && d.found != nowhere:
		return nil, fmt.Errorf("%s: grastate.dat has no identity any more (%s); run again", h.Name(), d.why)
	case d.goesTo().seqno >= 0 || d.found == nowhere:
		return nil, nil // it had not begun to write
	}
	// In a unit of its own: it is mariadbd itself, which takes as much memory as
	// its settings give it, and whoever asks here may be allowed little.
	out, err := h.Run(ctx, host.Command("systemd-run", "--quiet", "--wait", "--pipe", "--collect", "galera_recovery"))
	if err != nil {
		return nil, explain(ctx, h, err)
	}
	uuid, seqno, err := parseRecovered(out)
	if uuid == noUUID && d.interrupted() {
		plan.Tell(ctx, "it never was part of a cluster")
		return nil, rewrite(ctx, h, p.at.dataDir, func(old []byte) []byte { return markFound(old, nowhere) })
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", h.Name(), err)
	}
	if d.interrupted() {
		plan.Tell(ctx, fmt.Sprintf("its data goes up to %d; it was stopped while tables were changed", seqno))
		return nil, rewrite(ctx, h, p.at.dataDir, func(old []byte) []byte { return markFound(old, gtid{uuid, seqno}) })
	}
	if at, begun := descends(d.state.uuid, uuid); uuid != d.state.uuid && !(begun && at == seqno) {
		return nil, fmt.Errorf("%s: grastate.dat is of cluster %s and the data of %s: which is right is for a person to say", h.Name(), d.state.uuid, uuid)
	}
	plan.Tell(ctx, fmt.Sprintf("its data goes up to %d", seqno))
	return nil, rewrite(ctx, h, p.at.dataDir, func(old []byte) []byte { return markPosition(old, d.state.uuid, seqno) })
}

// Preview counts it as a change.
func (p position) Preview(context.Context, host.Reader) (plan.Preview, error) {
	return plan.Preview{Kind: plan.Change}, nil
}

var recovered = regexp.MustCompile(`--wsrep[-_]start[-_]position=([0-9a-f-]{36}):(-?[0-9]+)`)

// parseRecovered reads what galera_recovery prints: the option that it starts the
// daemon with.
func parseRecovered(out string) (uuid string, seqno int64, err error) {
	m := recovered.FindStringSubmatch(out)
	if m == nil || !uuidForm.MatchString(m[1]) {
		return "", -1, fmt.Errorf("galera_recovery found no position (%q)", clip(out))
	}
	if seqno, err = strconv.ParseInt(m[2], 10, 64); err != nil {
		return "", -1, err
	}
	if seqno < 0 || m[1] == noUUID {
		return m[1], -1, errors.New("galera_recovery found no position: the data directory is a part of a copy")
	}
	return m[1], seqno, nil
}

// unknownVariable is the server's number for a variable that it has not
// (ER_UNKNOWN_SYSTEM_VARIABLE).
const unknownVariable = 1193

// giveQuorum makes a node that runs without quorum the beginning of a component
// that has it.
func (s *State) giveQuorum(n node) plan.Action {
	return plan.Func{
		What: "give mariadbd its quorum back (pc.bootstrap)",
		Satisfied: func(ctx context.Context, r host.Reader) (bool, error) {
			st, err := ask(ctx, r, n.at, s.conf.RootPassword)
			return err == nil && st.primary(), err
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			db, err := connect(ctx, h, n.at, s.conf.RootPassword)
			if err != nil {
				return nil, fmt.Errorf("%s: mariadbd: %w", h.Name(), err)
			}
			defer db.Close()
			st, err := readStatus(ctx, db)
			switch {
			case err != nil:
				return nil, err
			case st.primary():
				return nil, nil // by itself, in the meantime
			case st.component != n.status.component || st.cluster != n.status.cluster || st.committed < n.status.committed:
				return nil, fmt.Errorf("%s: mariadbd is not as it was looked at (%s, %s); run again", h.Name(), st.component, st.cluster)
			}
			// From MariaDB 11 on each option of the library is a variable of its own,
			// and the one with all of them cannot be set. (It is refused with 1238 or,
			// seen in 11.8.9, 1210.)
			_, err = db.ExecContext(ctx, "SET GLOBAL wsrep_provider_pc_bootstrap=ON")
			var refused *mysql.MySQLError
			if errors.As(err, &refused) && refused.Number == unknownVariable {
				_, err = db.ExecContext(ctx, "SET GLOBAL wsrep_provider_options='pc.bootstrap=YES'")
			}
			return nil, err
		},
	}
}

// wake starts a daemon, or restarts one that left the cluster for good, and does
// not wait: being sent all data can take hours, and systemd tries until it is so.
func (s *State) wake(n node) plan.Action {
	what, verb := "start mariadbd, which joins", "start"
	if n.closed() {
		what, verb = "restart mariadbd, which left the cluster and joins again", "restart"
	}
	return plan.Func{
		What: what,
		Kind: plan.Change,
		Satisfied: func(ctx context.Context, r host.Reader) (bool, error) {
			active, err := activity(ctx, r)
			if err != nil || active == "inactive" || active == "failed" || active == "deactivating" {
				return false, err
			}
			st, err := ask(ctx, r, n.at, s.conf.RootPassword)
			return err != nil || st.component != disconnected, nil
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			_, err := h.Run(ctx, host.Command("systemctl", verb, "--no-block", unit))
			return nil, err
		},
	}
}

// wayLimit is how long a daemon that was started may take to find the cluster.
const wayLimit = 90 * time.Second

// onItsWay waits until a node has all data, or has asked for it.
func (s *State) onItsWay(n node) plan.Await {
	return plan.Await{
		What:    "mariadbd has all data, or is sent it",
		Timeout: wayLimit,
		Until: func(ctx context.Context, r host.Reader) (bool, string, error) {
			st, err := ask(ctx, r, n.at, s.conf.RootPassword)
			if err == nil {
				return st.synced(), st.component + ", " + st.sync, nil
			}
			listens, connected, err := transfer(ctx, r)
			return listens || connected, "it looks for the others", err
		},
	}
}
