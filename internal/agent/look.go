package agent

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"multihead/internal/cluster"
	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/service"
)

const (
	// lookEvery is the pause between two looks at a service.
	lookEvery = time.Second
	// lookLimit is how long one look may take. A daemon that does not answer
	// in that time cannot serve.
	lookLimit = 2 * time.Second
	// again is how long one that asks waits for looks at what is bad.
	again = time.Second
	// diskEvery is the pause between two writes that prove the system disk.
	diskEvery = 5 * time.Second
	// dataEvery is the same for a disk that clients everywhere wait for.
	dataEvery = 2 * time.Second
)

// disk is what the proof of the system disk goes by.
const disk = "disk"

// silent is why a look is bad that has not ended.
const silent = "does not answer"

// errOthers is why other hosts are not looked at: their own agents do that.
var errOthers = errors.New("its own agent looks at it")

// watchServices starts one loop for each service that runs here, so that one
// that hangs holds up no other.
func (a *Agent) watchServices(ctx context.Context, g *errgroup.Group) {
	a.eyes = newKeeping(a.Local)
	a.again = map[string]chan chan struct{}{}
	for _, s := range a.Services {
		if s.Name() == config.Keepalived || !a.Cluster.Runs(a.Name, s.Name()) {
			continue // what hands the address out is not what it depends on
		}
		a.again[s.Name()] = make(chan chan struct{})
		g.Go(func() error {
			a.loop(ctx, lookEvery, s.Name(), func(ctx context.Context) string { return a.look(ctx, s) })
			return nil
		})
		if guarded, ok := s.(service.Guarded); ok {
			g.Go(func() error {
				guarded.Guard(ctx, a.Local, a.Cluster, func(kind, what, why string) { a.event(kind, a.Name, s.Name(), what, why) })
				return nil
			})
		}
	}
	a.watchDisk(ctx, g, disk, diskEvery, func() string { return proveDisk(filepath.Dir(proofFile), true) })
	for _, s := range a.Services {
		on, ok := s.(service.OnDisk)
		if !ok || !a.Cluster.Runs(a.Name, s.Name()) || on.DataDir(a.Cluster) == "" {
			continue
		}
		dir := on.DataDir(a.Cluster)
		a.watchDisk(ctx, g, diskOf(s.Name()), dataEvery, func() string { return proveDisk(dir, false) })
		g.Go(func() error { a.watchBadDisk(ctx, s.Name(), on); return nil })
	}
}

// watchDisk proves again and again that a disk takes writes.
func (a *Agent) watchDisk(ctx context.Context, g *errgroup.Group, name string, every time.Duration, prove func() string) {
	a.again[name] = make(chan chan struct{})
	g.Go(func() error {
		a.loop(ctx, every, name, func(context.Context) string { return prove() })
		return nil
	})
}

// lookAgain has what is bad looked at once more and waits for it, for a moment:
// who asks is to be told what is so now, not what was so a second ago.
func (a *Agent) lookAgain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, again)
	defer cancel()
	a.mu.Lock()
	bad := copyOf(a.bad)
	a.mu.Unlock()
	var waiting []chan struct{}
	for name := range bad {
		looked := make(chan struct{})
		select {
		case a.again[name] <- looked:
			waiting = append(waiting, looked)
		case <-ctx.Done(): // it hangs in the look before
		}
	}
	for _, looked := range waiting {
		select {
		case <-looked:
		case <-ctx.Done():
		}
	}
}

// loop looks again and again. A look that takes longer than its limit, blocked
// in the kernel perhaps, counts as bad until it ends; only one is under way.
func (a *Agent) loop(ctx context.Context, every time.Duration, name string, look func(context.Context) string) {
	var asked chan struct{} // closed once who asked for a look can have it
	for {
		begin := time.Now()
		done := make(chan string, 1)
		go func() {
			limited, cancel := context.WithTimeout(ctx, lookLimit)
			defer cancel()
			done <- look(limited)
		}()
		select {
		case why := <-done:
			a.found(name, why)
		case <-ctx.Done():
			return
		case <-time.After(lookLimit + lookLimit/4):
			a.found(name, silent)
			select {
			case why := <-done:
				a.found(name, why)
			case <-ctx.Done():
				return
			}
		}
		a.looked(name, time.Since(begin))
		if asked != nil {
			close(asked)
		}
		asked = nil
		select {
		case <-ctx.Done():
			return
		case asked = <-a.again[name]:
		case <-pulse(every):
		}
	}
}

// found records a look: empty is well.
func (a *Agent) found(name, why string) {
	a.mu.Lock()
	_, was := a.bad[name]
	if why == "" {
		delete(a.bad, name)
	} else {
		a.bad[name] = why
	}
	a.mu.Unlock()
	switch {
	case why == "" && was:
		a.Log.Info("serves again", "service", name)
	case why != "" && !was:
		a.Log.Warn("cannot serve", "service", name, "why", why)
	}
}

// look asks one service about this head, by the same code that everything else
// here asks it with.
func (a *Agent) look(ctx context.Context, s service.Service) string {
	v, err := cluster.Reach(ctx, a.Cluster, nil, func(context.Context, []config.HostSpec) (map[string]host.Host, map[string]error, error) {
		failed := map[string]error{}
		for _, h := range a.Cluster.AllHosts() {
			failed[h.Hostname] = errOthers
		}
		delete(failed, a.Name)
		return map[string]host.Host{a.Name: a.eyes}, failed, nil
	})
	if err != nil {
		return err.Error()
	}
	v.Input.Brief = true
	st, err := s.Observe(ctx, v.Input)
	if err != nil {
		return err.Error()
	}
	n, ok := st.Health().Nodes[a.Name]
	a.endHung(context.WithoutCancel(ctx), s.Name(), n.Hung)
	switch {
	case !ok, n.State != service.Down && n.State != service.Unknown:
		return ""
	case n.Reason == "":
		return string(n.State)
	}
	return n.Reason
}

// proofFile is written to prove that the system disk takes writes; on others it has
// the same name.
const proofFile = "/var/cache/multihead/agent.proof"

// proveDisk writes the proof into a directory. One that is not there, and is not to
// be made, has nothing on it that anybody waits for. The file is written over in
// place: a disk that is only full is not one that takes no writes.
func proveDisk(dir string, create bool) string {
	if create {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err.Error()
		}
	} else if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	f, err := os.OpenFile(filepath.Join(dir, filepath.Base(proofFile)), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err.Error()
	}
	_, werr := f.WriteString(time.Now().UTC().Format(time.RFC3339) + "\n")
	if err := errors.Join(werr, f.Sync(), f.Close()); err != nil {
		return err.Error()
	}
	return ""
}
