package agentd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// RemovedFile says which heads have left the cluster, and when. A certificate of
// such a name that was issued before is refused, whatever the cluster file says of
// the name now: a head that was taken out while it was off has one, and another
// host may have its name.
const RemovedFile = pkiDir + "/removed"

// stampForm is how the file, and a run's stamp, write a time. Such words sort as
// the times do.
const stampForm = "20060102T150405Z"

// Removed is who left when: hostname → the newest time.
type Removed map[string]time.Time

// ParseRemoved reads the file. A line that cannot be read is an error: one that is
// left out would let somebody in.
func ParseRemoved(data []byte) (Removed, error) {
	out := Removed{}
	for line := range strings.Lines(string(data)) {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if len(words) != 2 {
			return nil, fmt.Errorf("%s: %q is not a name and a time", RemovedFile, strings.TrimSpace(line))
		}
		at, err := time.Parse(stampForm, words[1])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", RemovedFile, err)
		}
		out.add(words[0], at)
	}
	return out, nil
}

func (r Removed) add(name string, at time.Time) {
	if at.After(r[name]) {
		r[name] = at
	}
}

func (r Removed) text() []byte {
	var b bytes.Buffer
	b.WriteString("# Managed by multihead; changes are overwritten.\n# Heads that left the cluster. A certificate issued before that is refused.\n")
	for _, name := range slices.Sorted(maps.Keys(r)) {
		fmt.Fprintf(&b, "%s %s\n", name, r[name].UTC().Format(stampForm))
	}
	return b.Bytes()
}

// Refuses says whether a certificate is that of a head that has left since it was
// issued.
func (r Removed) Refuses(name string, notBefore time.Time) bool {
	at, ok := r[name]
	return ok && notBefore.Add(clockSkew).Before(at)
}

// refusesPEM is Refuses for a certificate in PEM.
func (r Removed) refusesPEM(name string, pem []byte) bool {
	c, err := parseCert(pem)
	return err == nil && r.Refuses(name, c.NotBefore)
}

func readRemoved(ctx context.Context, r host.Reader) (Removed, error) {
	data, err := r.ReadFile(ctx, RemovedFile)
	if errors.Is(err, fs.ErrNotExist) {
		return Removed{}, nil
	}
	if err != nil {
		return nil, err
	}
	return ParseRemoved(data)
}

// removedSteps writes down on every host with an agent that heads leave.
func (s *State) removedSteps(intent service.Intent) []plan.Step {
	now, err := time.Parse(stampForm, s.stamp)
	if err != nil {
		return nil // a look without a stamp plans nothing that is carried out
	}
	all := maps.Clone(s.removed)
	if all == nil {
		all = Removed{}
	}
	for _, t := range s.seats {
		if intent.Leaves(t.name) {
			all.add(t.name, now)
		}
	}
	var out []plan.Step
	for _, t := range s.seats {
		if !t.reached || intent.Leaves(t.name) {
			continue
		}
		out = append(out, plan.Step{ID: "agent.removed", Host: t.name, Action: plan.Func{
			What: "refuse the certificates that " + strings.Join(intent.Leaving, ", ") + " had so far", Kind: plan.Change,
			Satisfied: func(ctx context.Context, r host.Reader) (bool, error) {
				have, err := readRemoved(ctx, r)
				for _, name := range intent.Leaving {
					if have[name].Before(now) {
						return false, err
					}
				}
				return err == nil, err
			},
			Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
				return plan.File{Path: RemovedFile, Data: all.text(), Attr: public}.Do(ctx, h)
			},
		}})
	}
	return out
}
