package agent

import (
	"context"
	"maps"
	"time"

	"multihead/internal/service"
)

// hangingFor is how long a disk has to have taken no write, after that was noticed
// (up to 5 s), before what serves from it is ended: a disk that is only busy takes
// longer than one thinks. One that refuses writes is not busy, and gets no time.
const hangingFor = 6 * time.Second

// diskOf is what the proof of a service's disk goes by.
func diskOf(service string) string { return disk + " of " + service }

// watchBadDisk ends what serves from this head's disk where that takes no writes and
// the others' do. Every client waits for a disk that hangs. One that turned
// read-only is worse than one that is gone: of a directory in which a name stands
// for one file here and for another on the others GlusterFS says that it cannot be
// read, and slurmctld, which unlinks its state before it links the new one, loses
// all of it (drill F13, seen with 11.1 and 24.11).
func (a *Agent) watchBadDisk(ctx context.Context, name string, on service.OnDisk) {
	key := diskOf(name)
	var since time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-pulse(badDiskEvery):
		}
		now := time.Now()
		a.mu.Lock()
		why, bad := a.bad[key]
		a.mu.Unlock()
		if !bad {
			since = time.Time{}
			continue
		}
		if since.IsZero() {
			since = now
		}
		if why == silent && now.Sub(since) < hangingFor || !a.othersTakeWrites(name, key, now) {
			continue
		}
		// Again and again: whoever starts it anew on such a disk is wrong.
		did, err := on.LetGo(ctx, a.Local, a.Cluster)
		switch {
		case err != nil:
			a.Log.Error("ending what serves from a bad disk", "service", name, "error", err)
		case did:
			a.event("kill", a.Name, name, "ended what serves from this head's disk",
				"it takes no writes ("+why+"), all others' do, and all clients depend on each")
		}
	}
}

// badDiskEvery is the pause between two looks at what was found of the disk.
const badDiskEvery = 500 * time.Millisecond

func (a *Agent) othersTakeWrites(name, key string, now time.Time) bool {
	a.mu.Lock()
	peers := maps.Clone(a.peers)
	a.mu.Unlock()
	return othersTakeWrites(a.runs(name), a.Name, key, peers, now)
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
