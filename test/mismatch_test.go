//go:build lab

package test

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// replacedMeanwhile makes of a directory what a client does that dies in the middle of a
// change while the brick of a head is away: the directory is marked on the bricks that
// are there, so that their word does not count for what is to be healed in it. Files
// that were replaced meanwhile are two different ones of the same name then, which is an
// input/output error for whoever opens them. What a write needs to be acknowledged is
// kept, on the head that was away too.
func (h *hosts) replacedMeanwhile(away, other, more string) {
	h.t.Helper()
	const dir, brick = "/mnt/gluster/config/replaced", "/data/glusterfs/brick/config/replaced"
	const files = 4 // the last is replaced by a link to a file that all have
	h.sh(other, fmt.Sprintf("mkdir %s && cd %s && echo new > all && for i in $(seq %d); do echo old > f$i; done && sync", dir, dir, files))
	h.eventually("all bricks have them", time.Minute, func() (bool, string) {
		out, err := h.trySh(away, "cat "+brick+"/f?")
		return err == nil && strings.Count(out, "old") == files, out
	})
	for _, host := range []string{other, more} {
		h.sh(host, "setfattr -n trusted.afr.dirty -v 0x000000000000000000000001 "+brick)
	}
	h.sh(away, "kill -9 $(cat /run/gluster/vols/*/*.pid)")
	begin := time.Now()
	h.sh(other, fmt.Sprintf("cd %s && for i in $(seq %d); do echo new > n && mv n f$i; done && ln -f all f%d", dir, files-1, files))
	heads := []string{away, other}
	h.eventually("both heads have what replaced them", 3*time.Minute, func() (bool, string) {
		var seen []string
		for _, head := range heads {
			out, err := h.trySh(head, "cat "+brick+"/f? "+dir+"/f?; ls /data/glusterfs/brick/.glusterfs/indices/xattrop | grep -vc xattrop- || true")
			seen = append(seen, strings.Join(strings.Fields(out), " ")+fmt.Sprint(err))
		}
		want := strings.Repeat("new ", 2*files) + "0<nil>"
		return !slices.ContainsFunc(seen, func(s string) bool { return s != want }), fmt.Sprintf("%q", seen)
	})
	h.t.Logf("what was replaced meanwhile can be opened %.1f s after the brick's death", time.Since(begin).Seconds())
	said := h.must("events").stdout
	for i := range files {
		if what := fmt.Sprintf("keep %q as it is on", fmt.Sprintf("%s/f%d", dir, i+1)); !strings.Contains(said, what) {
			h.t.Errorf("no agent says %s:\n%s", what, said)
		}
	}
	h.sh(other, "rm -r "+dir)
	h.green()
}

// healersStandStill stops the self-heal daemons of all heads, as one that waits for ever
// for an answer that it had does by itself, and has a brick miss something: they are
// started anew, and it is healed.
func (h *hosts) healersStandStill() {
	h.t.Helper()
	const dir, did = "/mnt/gluster/config/stands", "start the self-heal daemon anew"
	heads := []string{"server1", "server2", "server3"}
	h.each(heads, "kill -STOP $(cat /run/gluster/shd/*/*.pid)")
	h.sh("server3", "kill -9 $(cat /run/gluster/vols/*/*.pid)")
	h.sh("server1", "mkdir "+dir+" && for i in $(seq 20); do echo $i > "+dir+"/f$i; done && sync")
	byAgents := func() int { return strings.Count(h.run("events").stdout, did) }
	before := byAgents()
	h.eventually("the heal stands, or the agents have ended that", 5*time.Minute, func() (bool, string) {
		r := h.run("recover", "--dry-run")
		return strings.Contains(r.stdout, did) || byAgents() > before, r.String()
	})
	begin := time.Now()
	if r := h.run("recover", "--yes"); !strings.Contains(r.stdout, did) && byAgents() == before {
		h.t.Errorf("they were not started anew: %s", r)
	}
	h.eventually("its brick has all of it", 2*time.Minute, func() (bool, string) {
		out, err := h.trySh("server3", "cat /data/glusterfs/brick/config/stands/f* | wc -l")
		waits, werr := h.trySh("server1", "ls /data/glusterfs/brick/.glusterfs/indices/xattrop | grep -vc xattrop- || true")
		return err == nil && werr == nil && out == "20" && waits == "0", fmt.Sprintf("%q, %q", out, waits)
	})
	h.t.Logf("it was healed %.1f s after they were to be started anew", time.Since(begin).Seconds())
	h.each(heads, "! grep -q 'State:.T' /proc/$(cat /run/gluster/shd/*/*.pid)/status")
	h.sh("server1", "rm -r "+dir)
	h.green()
}
