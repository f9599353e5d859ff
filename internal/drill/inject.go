package drill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"multihead/internal/cluster"
	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/service"
)

// Outside is somebody outside the hosts who can switch them off and on, cut
// their network and harm their disks: a lab.
type Outside interface {
	PowerOff(ctx context.Context, hosts ...string) error
	PowerOn(ctx context.Context, hosts ...string) error
	Freeze(ctx context.Context, hosts ...string) error
	Thaw(ctx context.Context, hosts ...string) error
	// Partition cuts hosts off from others, or drops only what they say. Where
	// only is not empty it cuts no more than that traffic.
	Partition(ctx context.Context, hosts, others []string, oneWay bool, only string) error
	// Heal ends all partitions.
	Heal(ctx context.Context) error
	// Disk is fill, free, hold, release or break of a host's disk.
	Disk(ctx context.Context, what, host, disk string) error
}

// stage is where a scenario is played.
type stage struct {
	cast    Cast
	outside Outside                             // nil on real hosts
	host    func(name string) (host.Host, bool) // those that are reached
	look    func(ctx context.Context) (cluster.Status, error)
	clients []string          // where the workloads run, "" for this machine
	say     func(text string) // what is broken or undone
	note    func(text string) // what is waited for
}

// play does steps in order.
func (s *stage) play(ctx context.Context, steps []Step) error {
	for _, st := range steps {
		if err := s.step(ctx, st); err != nil {
			return fmt.Errorf("%s: %w", st.Do, err)
		}
	}
	return nil
}

var errNeedsLab = errors.New("only a lab can do this")

func (s *stage) step(ctx context.Context, st Step) error {
	on := s.cast.On(st)
	if st.Do == Wait {
		s.note(fmt.Sprintf("wait %s", st.For))
		return sleep(ctx, st.For)
	}
	if st.Do == Heals {
		return s.awaitHeal(ctx, on, st.For)
	}
	s.say(strings.TrimSpace(fmt.Sprintf("%s %s %s", st.Do, strings.Join(on, ","), st.Arg)))
	switch st.Do {
	case Signal:
		return s.signal(ctx, on, st.Arg)
	case Stall:
		return s.stall(ctx, on, st.Arg, st.For)
	}
	if s.outside == nil {
		return errNeedsLab
	}
	switch st.Do {
	case PowerOff:
		return s.outside.PowerOff(ctx, on...)
	case PowerOn:
		return s.outside.PowerOn(ctx, on...)
	case Freeze:
		return s.outside.Freeze(ctx, on...)
	case Thaw:
		return s.outside.Thaw(ctx, on...)
	case Partition, OneWay:
		return s.outside.Partition(ctx, on, s.others(on), st.Do == OneWay, st.Arg)
	case CutOff:
		return s.outside.Partition(ctx, on, s.named(), false, "")
	case HealNet:
		return s.outside.Heal(ctx)
	case Fill, Free, Hold, Release, ReadOnly:
		what, _, _ := strings.Cut(string(st.Do), "-")
		if st.Do == ReadOnly {
			what = "break"
		}
		var errs []error
		for _, h := range on {
			errs = append(errs, s.outside.Disk(ctx, what, h, st.Arg))
		}
		return errors.Join(errs...)
	}
	return fmt.Errorf("no such step: %s", st.Do)
}

// others are the heads that are not among those named.
func (s *stage) others(of []string) []string {
	var out []string
	for _, h := range s.cast.Heads {
		if !contains(of, h) {
			out = append(out, h)
		}
	}
	return out
}

func (s *stage) named() []string {
	var out []string
	for _, c := range s.clients {
		if c != "" {
			out = append(out, c)
		}
	}
	return out
}

func contains(list []string, word string) bool {
	for _, w := range list {
		if w == word {
			return true
		}
	}
	return false
}

// signal sends a signal to a unit's processes, or to processes by their name.
func (s *stage) signal(ctx context.Context, hosts []string, arg string) error {
	name, target, _ := strings.Cut(arg, " ")
	return s.each(hosts, func(h host.Host) error {
		_, err := h.Run(ctx, host.Command(signalWords(name, target)...))
		return err
	})
}

func signalWords(signal, target string) []string {
	if process, ok := strings.CutPrefix(target, "process:"); ok {
		return []string{"pkill", "-" + signal, "--exact", process}
	}
	return []string{"systemctl", "kill", "--signal=" + signal, target}
}

// stall stops a daemon. What wakes it is a timer of the host's own systemd, set
// before, so that it wakes even where nobody reaches the host any more.
func (s *stage) stall(ctx context.Context, hosts []string, target string, d time.Duration) error {
	return s.each(hosts, func(h host.Host) error {
		timer := append([]string{"systemd-run", "--quiet", "--collect", fmt.Sprintf("--on-active=%d", int(d.Seconds())),
			"--timer-property=AccuracySec=100ms"}, signalWords("CONT", target)...)
		if _, err := h.Run(ctx, host.Command(timer...)); err != nil {
			return err
		}
		_, err := h.Run(ctx, host.Command(signalWords("STOP", target)...))
		return err
	})
}

func (s *stage) each(names []string, do func(host.Host) error) error {
	var errs []error
	for _, n := range names {
		h, ok := s.host(n)
		if !ok {
			errs = append(errs, fmt.Errorf("%s is not reached", n))
			continue
		}
		errs = append(errs, do(h))
	}
	return errors.Join(errs...)
}

// awaitHeal waits until the heads' data is being brought up to date. Where that was over
// before it was seen, or does not begin in time, the drill goes on and says so.
func (s *stage) awaitHeal(ctx context.Context, heads []string, limit time.Duration) error {
	who := strings.Join(heads, ",")
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); {
		st, err := s.look(ctx)
		switch what := healing(st, heads); {
		case err != nil && ctx.Err() != nil:
			return err
		case err == nil && what != "":
			s.note(who + " heals: " + what)
			return nil
		case err == nil && st.State == service.Up:
			s.note(who + " had healed before it was seen to")
			return nil
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
	s.note(who + " was not seen to heal within " + limit.String())
	return nil
}

// healing says what of the heads' data is being brought up to date: the database is in
// a component and not in sync, or their bricks serve while the volume waits for a heal.
func healing(st cluster.Status, heads []string) string {
	for _, h := range st.Heads {
		db, volume := h.Services[config.MariaDB], h.Services[config.GlusterFS]
		switch {
		case !slices.Contains(heads, h.Hostname):
		case db.State == service.Degraded:
			return config.MariaDB + " " + db.Role
		case volume.State == service.Up:
			for _, sv := range st.Services {
				if sv.Service == config.GlusterFS && sv.State == service.Degraded {
					return config.GlusterFS + " " + sv.Reason
				}
			}
		}
	}
	return ""
}

// sleep waits unless ctx ends first.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
