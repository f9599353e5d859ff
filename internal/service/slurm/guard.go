package slurm

import (
	"context"
	_ "embed"
	"errors"
	"io/fs"
	"os/exec"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/service"
)

var _ service.Guarded = (*Service)(nil)

// readablePath is the script that says whether slurmctld can read its state.
const readablePath = "/usr/local/lib/multihead/slurmctld-readable"

//go:embed readable.sh
var readableScript []byte

// scriptsRefused is its exit code where the state can be read, and scripts of jobs cannot.
const scriptsRefused = 2

const (
	beatEvery  = 400 * time.Millisecond // between two looks at the heartbeat
	guardEvery = 250 * time.Millisecond // between two decisions
	lookFor    = 20 * time.Second       // for one look at the state
	killFor    = 2 * time.Second        // for a decision to be carried out; later it may be another's turn
)

// Guard implements service.Guarded. A slurmctld that stands by takes over when it hears
// nothing from the one in charge, and asks nobody whether it can read what that one has
// left: a file that cannot be opened counts as one that is not there, and it begins
// without the jobs (seen: "Could not open job state file: Transport endpoint is not
// connected", and a moment later the empty state is written over the real one). Where
// the death that it takes over from is also what makes the state unreadable, it would do
// so each time. So where the heartbeat has stopped and the state cannot be read, it is
// killed: it has nothing to save, and its unit starts it again once all can be read.
// (Stopped and let go on it would go by what it believed before, beside one that has
// taken over meanwhile.)
//
// What is left: a state that becomes unreadable in the second or two between the last
// look and slurmctld's own, or when both have waited for it.
func (*Service) Guard(ctx context.Context, h host.Host, c *config.Cluster, tell func(kind, what, why string)) {
	controllers := c.SlurmControllers()
	if !slices.ContainsFunc(controllers, func(x config.Controller) bool { return x.Hostname == h.Name() }) {
		return
	}
	g := guard{h: h, c: c, tell: tell, watch: watch{advanced: time.Now()}}
	if len(controllers) > 1 { // one that is alone takes over from nobody, and writes no heartbeat
		go g.read(ctx)
	}
	for tick := time.NewTicker(guardEvery); ; {
		g.act(ctx)
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
	}
}

// guard watches over one slurmctld.
type guard struct {
	h      host.Host
	c      *config.Cluster
	tell   func(kind, what, why string)
	killed string // the process that was

	mu    sync.Mutex
	watch watch
}

// read looks at the heartbeat, and at the state where that has stopped. It may hang in
// the kernel, with the volume: then it proves nothing.
func (g *guard) read(ctx context.Context) {
	dir := g.c.Slurm.StateSaveLocation
	beat := func() {
		b, err := readHeartbeatNow(ctx, g.h, dir)
		conf, cerr := g.h.ReadFile(ctx, path.Join(g.c.Slurm.ConfigPath, "slurm.conf"))
		g.mu.Lock()
		defer g.mu.Unlock()
		if err == nil && cerr == nil {
			g.watch.saw(b, placeIn(conf, g.h.Name()), time.Now())
		}
	}
	for {
		begin := time.Now()
		beat()
		g.mu.Lock()
		pid := g.watch.pid
		wanted, scripts := g.watch.wantsProof(time.Now())
		g.mu.Unlock()
		if wanted {
			begin = time.Now()
			if refused, ok := readable(ctx, g.h, dir, scripts); ok {
				beat() // it may have taken long
				g.mu.Lock()
				if g.watch.pid == pid {
					g.watch.checked(begin, time.Now(), scripts, refused)
				}
				g.mu.Unlock()
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(beatEvery-time.Since(begin), beatEvery/4)):
		}
	}
}

// readable looks whether slurmctld could read its state on a host, and if wanted the
// scripts of its jobs; not ok is that nobody knows.
func readable(ctx context.Context, h host.Host, dir string, scripts bool) (refused unread, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, lookFor)
	defer cancel()
	attempts := "0"
	if scripts {
		attempts = "1"
	}
	out, err := h.Run(ctx, host.Command(readablePath, dir, attempts))
	var exit *host.ExitError
	switch {
	case err == nil, errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return unread{}, true // a head set up by an older version has no such script
	case errors.As(err, &exit) && strings.TrimSpace(out) != "":
		return unread{why: strings.ReplaceAll(strings.TrimSpace(out), "\n", "; "), scripts: exit.Code == scriptsRefused}, true
	default:
		return unread{}, false
	}
}

// act kills slurmctld where it may not go on.
func (g *guard) act(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, killFor)
	defer cancel()
	pid, ok := host.MainProcess(ctx, g.h, ctldUnit, "slurmctld")
	if !ok {
		return
	}
	g.mu.Lock()
	began := g.watch.process(pid)
	harm, refused := g.watch.harmful(time.Now())
	g.mu.Unlock()
	if began {
		g.tellLost(ctx)
	}
	if !harm || pid == g.killed {
		return
	}
	if _, err := g.h.Run(ctx, host.Command("systemctl", "kill", "--signal=KILL", "--kill-whom=main", ctldUnit)); err != nil {
		return // again at the next look
	}
	g.killed = pid // one that waits in the kernel dies when it comes out of there
	what := "would begin without its jobs"
	if refused.scripts {
		what = "would miss scripts of its jobs"
	}
	g.tell("kill", "killed slurmctld, which stood by and "+what+"; it starts again once it can read them", refused.why)
}
