package gluster

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// healersAfter is how long a heal has to have stood, with every brick there, until the
// self-heal daemons are started anew. They try what failed again each minute
// (cluster.heal-timeout), and a lookup had its turn.
const healersAfter = 2 * time.Minute

// healers starts the self-heal daemons anew where a heal stands. One of them may wait for
// ever: seen with GlusterFS 11.1 on a busy host, after all bricks had answered it (a
// wakeup was lost), and one that a signal has stopped does the same. It keeps the locks of
// the directory that it was healing on all bricks, and whoever opens or looks up something
// in there waits as long. The locks of one that is killed are gone at once, and the next
// one begins from the bricks' own records: nothing is lost by it. Each is ended once for
// what stands: one that was started since is left alone.
func (s *State) healers(intent service.Intent) []plan.Stage {
	if !s.healStands(healersAfter) {
		return nil
	}
	var stood time.Duration
	for _, h := range s.hosts() {
		if h.pending > 0 {
			stood = max(stood, h.stuck)
		}
	}
	var out []plan.Stage
	for i := range s.heads {
		h := &s.heads[i]
		if !h.reached || !h.brick || h.daemon != service.Yes || !intent.Includes(h.name) {
			continue
		}
		// One after the other: glusterd takes one command at a time.
		out = append(out, plan.Stage{Name: "the self-heal daemon of " + h.name, Steps: []plan.Step{
			{ID: "glusterfs.healer", Host: h.name, Action: s.newHealer(stood)}}})
	}
	return out
}

// newHealer ends the self-heal daemon of a head that is older than what stands, and has
// glusterd start another.
func (s *State) newHealer(stood time.Duration) plan.Action {
	name := s.conf.VolumeName
	file := "/run/gluster/shd/" + name + "/" + name + "-shd.pid"
	older := func(ctx context.Context, r host.Reader) (bool, error) {
		info, err := r.Stat(ctx, file) // written when it started
		if errors.Is(err, fs.ErrNotExist) {
			return true, nil // it does not run
		}
		return err == nil && clockOf(ctx, r).Sub(info.ModTime) >= stood, err
	}
	return plan.Func{
		What: "start the self-heal daemon anew: what waits to be healed does not move", Kind: plan.Restart,
		Satisfied: func(ctx context.Context, r host.Reader) (bool, error) {
			is, err := older(ctx, r)
			return !is, err
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			// What starts it again acts on the bricks of every host: not where one is down.
			if all, err := s.allServe(ctx, h); !all {
				return nil, err
			}
			pid, err := h.ReadFile(ctx, file)
			if err == nil {
				err = endHealer(ctx, h, strings.TrimSpace(string(pid)), name)
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			_, err = change(ctx, h, "volume", "start", name, "force") // bricks that run are left alone
			return nil, err
		},
	}
}

// allServe says whether the volume is started and every brick of it serves, as glusterd
// sees it now. One that gives no answer has not said so, and a later look asks again.
func (s *State) allServe(ctx context.Context, r host.Reader) (bool, error) {
	v, err := readVolume(ctx, r, s.conf.VolumeName)
	if err != nil || v == nil || v.Status != volStarted {
		return false, err
	}
	one, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	rep, err := ask(one, r, "volume", "status", s.conf.VolumeName)
	if err != nil {
		return false, ctx.Err()
	}
	serves := map[brick]bool{}
	for _, b := range rep.Bricks {
		serves[brickAt(b.Host, b.Path)] = b.Status == 1
	}
	return !slices.ContainsFunc(v.Bricks, func(b brick) bool { return !serves[b] }), nil
}

// endHealer kills a process if it is the self-heal daemon of a volume: its number may be
// another's by now.
func endHealer(ctx context.Context, h host.Host, pid, volume string) error {
	argv, err := h.ReadFile(ctx, path.Join("/proc", pid, "cmdline"))
	if ended(err) {
		return nil
	}
	if err != nil || !strings.Contains(string(argv), "\x00shd/"+volume+"\x00") {
		return err
	}
	_, err = h.Run(ctx, host.Command("kill", "-KILL", pid))
	return err
}
