package gluster

import (
	"context"
	"errors"
	"path"
	"strings"
	"time"

	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

const (
	// lookUpAfter is how long what waits to be healed has to have been the same, with
	// every brick there, until it is looked up. What the daemons can heal they begin at
	// once, and a file that takes them longer is not harmed by a lookup.
	lookUpAfter = 20 * time.Second
	// lookUpLimit bounds a lookup as a whole: other services' recovery comes after it.
	lookUpLimit = 30 * time.Second
	// lookUpMost is how many entries are looked up at a time.
	lookUpMost = 1000
	// lookedUpFile is written on the head when what its brick has to heal was looked up:
	// that is not done again until other entries wait. A boot forgets it.
	lookedUpFile = "/run/multihead-heal-lookup"
)

// helpHeal ends what the self-heal daemons do not end by themselves. Agents do it too, and
// not while a person is at work: what that person does may wait for the same heal.
func (s *State) helpHeal(cli *head, v *volume, intent service.Intent) []plan.Stage {
	var out []plan.Stage
	if steps := s.keepAcknowledged(cli, v, intent); len(steps) > 0 {
		out = append(out, plan.Stage{Name: "what nobody can open", Steps: steps})
	}
	if steps := s.lookUp(intent); len(steps) > 0 {
		out = append(out, plan.Stage{Name: "what is not healed by itself", Steps: steps})
	}
	return append(out, s.healers(intent)...)
}

// lookUp has what is not healed by itself looked up by its name. A brick whose head lost
// its power has lost the last seconds of what was done to its directories too: there a
// directory is that all others have removed. The self-heal daemon goes by the identity
// of what is to be healed, finds it nowhere else, and tries again for ever; a lookup by
// the name makes both sides equal (AFR's name self-heal). No data is lost by it: what
// only one has is there again, on all.
func (s *State) lookUp(intent service.Intent) []plan.Step {
	if !s.healStands(lookUpAfter) {
		return nil
	}
	for i := range s.heads {
		by := &s.heads[i]
		if !by.reached || by.pending <= 0 || by.stuck < lookUpAfter || by.lookedUp {
			continue
		}
		if intent.Leaves(by.name) { // it may have unmounted the volume by then
			by = s.another(intent)
		}
		if by == nil || !s.canLookUp(by, intent) {
			continue
		}
		return []plan.Step{{ID: "glusterfs.lookup", Host: by.name, Action: plan.Func{
			What: "look up by their names the entries that are not healed by themselves", Kind: plan.Change,
			Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
				// Once for what waits now, also where it is not healed by it: it may be in
				// split-brain, or known by its identity alone.
				if err := h.WriteFile(ctx, lookedUpFile, nil, host.Attr{Mode: 0o600}); err != nil {
					return nil, err
				}
				ctx, cancel := context.WithTimeout(ctx, lookUpLimit)
				defer cancel()
				if rep, err := ask(ctx, h, "volume", "heal", s.conf.VolumeName, "info"); err == nil {
					lookUpAll(ctx, h, s.conf.MountPoint, waitingPaths(rep))
				}
				return nil, nil // what comes of it is seen in what waits
			},
		}}}
	}
	return nil
}

// canLookUp says whether a lookup can be made through a head's mount.
func (s *State) canLookUp(h *head, intent service.Intent) bool {
	return h.reached && h.daemon == service.Yes && h.mounted == service.Yes && h.answers == service.Yes && intent.Includes(h.name)
}

// another is a head that stays and can look up what waits on one that leaves: the names
// are the same on every mount.
func (s *State) another(intent service.Intent) *head {
	for i := range s.heads {
		if h := &s.heads[i]; !intent.Leaves(h.name) && s.canLookUp(h, intent) {
			return h
		}
	}
	return nil
}

// waitingPaths are the entries in a heal's answer that it knows by name, each once.
func waitingPaths(rep reply) []string {
	var out []string
	known := map[string]bool{}
	for _, b := range rep.Heal {
		for _, f := range b.Files {
			if strings.HasPrefix(f, "/") && !known[f] && len(out) < lookUpMost {
				known[f] = true
				out = append(out, f)
			}
		}
	}
	return out
}

// lookUpAll asks for entries through the mount, and for what is in directories. What it
// is told is of no interest: one that is in split-brain is an error, and stays one.
func lookUpAll(ctx context.Context, r host.Reader, mount string, paths []string) {
	for _, p := range paths {
		one, cancel := context.WithTimeout(ctx, askLimit)
		info, err := r.Stat(one, path.Join(mount, p))
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			return // the volume hangs, so the others would as well
		}
		if err == nil && info.Mode.IsDir() {
			_, _ = r.ReadDir(ctx, path.Join(mount, p))
		}
	}
}
