package agent

import (
	"context"
	"fmt"
	"maps"
	"time"

	"multihead/internal/service"
)

// hangingFor is how long a disk has to have taken no write, after that was noticed
// (up to 8 s), before what serves from it is ended. A disk that is only busy takes
// longer than one thinks; but everybody waits for it.
const hangingFor = 6 * time.Second

// diskOf is what the proof of a service's disk goes by.
func diskOf(service string) string { return disk + " of " + service }

// watchHanging ends what serves from this head's disk where that hangs and the
// others' do not: every client waits for it.
func (a *Agent) watchHanging(ctx context.Context, name string, on service.OnDisk) {
	key := diskOf(name)
	var since, ended time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-pulse(time.Second):
		}
		now := time.Now()
		a.mu.Lock()
		hangs := a.bad[key] == silent
		peers := maps.Clone(a.peers)
		a.mu.Unlock()
		if !hangs {
			since = time.Time{}
			continue
		}
		if since.IsZero() {
			since = now
		}
		if now.Sub(since) < hangingFor || now.Sub(ended) < hungPause || !othersTakeWrites(a.runs(name), a.Name, key, peers, now) {
			continue
		}
		ended = now
		cause := fmt.Sprintf("its disk has taken no write for %s, all others' do, and every client waits for it", now.Sub(since).Round(time.Second)+lookLimit)
		if err := on.LetGo(ctx, a.Local, a.Cluster); err != nil {
			cause += "; and that failed: " + err.Error()
		}
		a.event("kill", a.Name, name, "ended what serves from this head's disk", cause)
	}
}

// runs are the heads that run a service, by the file.
func (a *Agent) runs(name string) []string {
	var out []string
	for _, c := range a.Cluster.HeadsWith(name) {
		out = append(out, c.Hostname)
	}
	return out
}

// othersTakeWrites says whether more than half of the heads that run a service, and
// this one not counted, are heard and have a disk that takes writes: then the
// service goes on without this one. Where all disks are slow, as a load on the
// volume makes them, nobody lets go.
func othersTakeWrites(heads []string, self, key string, peers map[string]heard, now time.Time) bool {
	well := 0
	for _, name := range heads {
		p, ok := peers[name]
		if name == self || !ok || now.Sub(p.at) > freshFor {
			continue
		}
		if _, bad := p.Verdict.Bad[key]; bad {
			return false
		}
		well++
	}
	return 2*well > len(heads)
}
