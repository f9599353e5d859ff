package slurm

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"time"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/service"
)

var (
	_ service.Survivor = (*Service)(nil)
	_ service.Recluse  = (*Service)(nil)
)

const (
	// takeoverAfter is how long the controller in charge has to have been silent to
	// all before a backup is told to take over. slurmctld would find out by itself
	// after SlurmctldTimeout (5 s) and half a round more; a cable that is moved to
	// another port takes less than this.
	takeoverAfter = 2500 * time.Millisecond
	// waitsEvery is the pause between two looks for connections that wait.
	waitsEvery = 200 * time.Millisecond
	// heartbeatLimit is how long the heartbeat may take to be read on a head that is
	// cut off: the volume hangs there, as a rule.
	heartbeatLimit = 200 * time.Millisecond
	// readLimit is how long reading the controllers' state may take.
	readLimit = 3 * time.Second
)

// Outlive implements service.Survivor. Slurm's commands and daemons on this head
// wait two seconds and more for each connection with the silent one, a backup that
// takes over for several of them in turn: that ends. And the first backup that lives
// takes over, if the silent head was in charge. A backup does so by itself as well,
// later, and without looking at the state.
func (*Service) Outlive(ctx context.Context, h host.Host, c *config.Cluster, s service.Silence, tell func(string)) error {
	ports := []int{ctldPort}
	if runsDBD(c) {
		ports = append(ports, c.Slurm.Accounting.StoragePort)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	tick := time.NewTicker(waitsEvery)
	defer tick.Stop()
	takeover := time.After(time.Until(s.Since.Add(takeoverAfter)))
	for {
		if err := host.EndSockets(ctx, h, s.Head.Address, ports, ports); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-done:
			if err != nil {
				return err
			}
		case <-takeover:
			go func() { done <- succeed(ctx, h, c, s, tell) }()
		case <-tick.C:
		}
	}
}

// StepDown implements service.Recluse: it kills slurmctld, unless another is known to
// be in charge. One that was superseded while it was cut off knows nothing of it, and
// would write its state over the other's when it is back. systemd starts it again once
// the volume serves; the first controller then waits for its turn.
func (*Service) StepDown(ctx context.Context, h host.Host, c *config.Cluster, tell func(string)) error {
	if len(c.SlurmControllers()) < 2 {
		return nil
	}
	looked, cancel := context.WithTimeout(ctx, heartbeatLimit)
	defer cancel()
	conf, err := h.ReadFile(looked, path.Join(c.Slurm.ConfigPath, "slurm.conf"))
	if err == nil {
		own := head{common: common{name: h.Name()}, conf: conf}.place()
		if b, err := readHeartbeat(looked, h, c.Slurm.StateSaveLocation); err == nil && b.index != own {
			return nil
		}
	}
	if states, err := host.UnitStates(ctx, h, ctldUnit); err == nil && !running(states[ctldUnit]) {
		return nil
	}
	if _, err := h.Run(ctx, host.Command("systemctl", "kill", "--signal=SIGKILL", "--kill-whom=all", ctldUnit)); err != nil {
		return err
	}
	tell("killed " + ctldUnit)
	return nil
}

// succeed has this head's controller take over where that is its turn.
func succeed(ctx context.Context, h host.Host, c *config.Cluster, s service.Silence, tell func(string)) error {
	conf, err := h.ReadFile(ctx, path.Join(c.Slurm.ConfigPath, "slurm.conf"))
	if err != nil {
		return err
	}
	index, ok := successor(conf, h.Name(), s)
	if !ok {
		return nil
	}
	if why := takeable(ctx, h, c, conf, s.Head.Hostname); why != "" {
		tell("slurmctld is not told to take over from " + s.Head.Hostname + ": " + why)
		return nil
	}
	// What has begun is not broken off where the silent one is heard again: it will
	// find that another is in charge.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	if _, err := h.Run(ctx, host.Command("scontrol", "takeover", strconv.Itoa(index))); err != nil {
		return err
	}
	tell("told slurmctld to take over from " + s.Head.Hostname)
	return nil
}

// successor says whether the named head is the first controller of a slurm.conf that
// lives, and its index there; the silent one has to be a controller as well.
func successor(conf []byte, self string, s service.Silence) (index int, yes bool) {
	place := func(name string) int { return head{common: common{name: name}, conf: conf}.place() }
	if place(s.Head.Hostname) < 0 {
		return 0, false
	}
	index = place(self)
	if index < 0 {
		return 0, false
	}
	return index, !slices.ContainsFunc(s.Living, func(name string) bool {
		p := place(name)
		return name != self && p >= 0 && p < index
	})
}

// takeable says why the state is nothing to take over; empty is that the silent head
// was in charge, and that every file of the state can be read here. slurmctld goes on
// without what it cannot read.
func takeable(ctx context.Context, h host.Host, c *config.Cluster, conf []byte, silent string) string {
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	s := State{cluster: c}
	x := head{common: common{name: h.Name(), reader: h}, state: lookState(ctx, h, c.Slurm.StateSaveLocation)}
	mount, _ := shared(c)
	if err := x.lookReady(ctx, mount); err != nil {
		return err.Error()
	}
	if why := s.unready(x); why != "" {
		return why
	}
	if err := x.fits(clusterName(c)); err != nil {
		return err.Error()
	}
	was := head{common: common{name: silent}, conf: conf}.place()
	if x.state.beat == nil {
		return "the heartbeat cannot be read"
	}
	if x.state.beat.index != was {
		return fmt.Sprintf("controller number %d is in charge", x.state.beat.index)
	}
	// The one in charge replaces its heartbeat every other second.
	_, err := h.Run(ctx, host.Command("find", x.state.path, "-maxdepth", "1", "-type", "f", "!", "-name", "heartbeat*", "-exec", "cksum", "--", "{}", "+"))
	if err != nil {
		return "not all of its state can be read: " + err.Error()
	}
	return ""
}
