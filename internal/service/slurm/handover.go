package slurm

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"path"
	"time"

	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// turnPath is the script that has the first controller wait for its turn.
const turnPath = "/usr/local/lib/multihead/slurmctld-turn"

//go:embed turn.sh
var turnScript []byte

// yieldFile in the state directory says that the backup in charge has ended in
// order, so that the first controller may start.
const yieldFile = ".multihead-yield"

// inWay is the head whose slurmctld is in charge instead of the first one of the
// file, nil where that is not so.
func (s *State) inWay() *head {
	if i := s.active(); i >= 0 && s.heads[i].index > 0 && s.heads[i].place() > 0 {
		return &s.heads[i]
	}
	return nil
}

// waits says whether slurmctld is starting on the first head of the file, and waits
// until whoever is in charge gives way. One whose start is refused by its guards
// again and again, for the volume does not serve there, looks like one: nobody is to
// give way to it, for it would not serve then.
func (s *State) waits(h head) bool {
	if !h.reached || h.index != 0 || h.listens != service.No {
		return false
	}
	return running(h.units[ctldUnit]) || h.units[ctldUnit] == "activating" && s.unready(h) == ""
}

// giveWay ends slurmctld in order, waits until the first one is in charge, and
// starts it again, all in one command: it is finished by that host also where
// whoever asked for it is gone meanwhile.
func (s *State) giveWay(h head) plan.Action {
	dir := s.cluster.Slurm.StateSaveLocation
	// Nobody could begin where the state cannot be read now: the one in charge has it in
	// its memory, and keeps it.
	script := fmt.Sprintf(`[ ! -x %[4]s ] || timeout 20 %[4]s %[5]s 0 || exit 1
systemctl stop %[1]s || exit 1
touch %[2]s
for _ in $(seq 100); do
	set -- $(od -An -tu8 --endian=big %[3]s 2>/dev/null)
	[ "${2:-1}" != 0 ] || break
	sleep 0.2
done
rm -f %[2]s
systemctl start %[1]s`, ctldUnit, path.Join(dir, yieldFile), path.Join(dir, "heartbeat"), readablePath, dir)
	return plan.Func{
		What: "let slurmctld hand over in order, and stand by", Kind: plan.Restart, Timeout: 150 * time.Second,
		Change: func(ctx context.Context, r host.Host) (plan.Action, error) {
			_, err := r.Run(ctx, host.Command("sh", "-c", script))
			return nil, err
		},
	}
}

// returns are the steps by which the first controller of the file, which does not
// run, takes charge from the backup that has it: beside each other, on two hosts.
// Without the backup's it would wait for the agents to see to that, and they wait
// until this run is over.
func (s *State) returns(first, in head, start plan.Action) []plan.Step {
	return []plan.Step{
		{ID: "slurm.ctld.give-way", Host: in.name, Action: s.giveWay(in), Effect: "sbatch and squeue wait for some seconds"},
		step(first.name, "ctld", s.afterwards(in, start)),
		step(first.name, "ctld.in-charge", s.awaitTakesCharge(first, 0)), // by its slurm.conf as this plan has written it
	}
}

// afterwards starts slurmctld once the port of the one in charge is closed.
func (s *State) afterwards(in head, start plan.Action) plan.Action {
	address := ""
	for _, c := range s.cluster.SlurmControllers() {
		if c.Hostname == in.name {
			address = c.Address.String()
		}
	}
	gone := plan.Await{What: "slurmctld on " + in.name + " has ended", Timeout: 60 * time.Second,
		Until: func(ctx context.Context, r host.Reader) (bool, string, error) {
			conn, err := r.Dial(ctx, "tcp", fmt.Sprintf("%s:%d", address, ctldPort))
			if err != nil {
				return host.NobodyListens(err), err.Error(), nil
			}
			return false, "it takes connections", conn.Close()
		}}
	return plan.Func{
		What: "start " + ctldUnit + " once the one on " + in.name + " has ended", Kind: plan.Change,
		Satisfied: start.Done,
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			_, err := gone.Do(ctx, h)
			undo, serr := start.Do(ctx, h)
			return undo, errors.Join(err, serr)
		},
	}
}
