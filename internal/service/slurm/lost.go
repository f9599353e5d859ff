package slurm

import (
	"context"
	_ "embed"
	"strings"
)

// lostPath is the script that has slurmctld fail a job whose own is on no disk. It runs
// before each start of slurmctld, which would end itself at such a job for ever.
const lostPath = "/usr/local/lib/multihead/slurmctld-lost"

//go:embed lost.sh
var lostScript []byte

// lostFile is what the script says that it did, until slurmctld ends.
const lostFile = "/run/slurmctld/lost"

// tellLost tells what was done before slurmctld was started.
func (g *guard) tellLost(ctx context.Context) {
	said, err := g.h.ReadFile(ctx, lostFile)
	if err != nil {
		return // there is none
	}
	if err := g.h.Remove(ctx, lostFile); err == nil {
		g.tell("alarm", "slurmctld is to fail a job whose script is lost, and would have ended itself at it again and again", strings.TrimSpace(string(said)))
	}
}
