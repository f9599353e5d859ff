//go:build lab

package test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"multihead/internal/lab"
)

// The virtual address follows what a head can serve, and nothing else does:
// not a daemon that is down everywhere, and not the agents themselves.
func TestTheAddressFollowsHealth(t *testing.T) {
	t.Parallel()
	h := newLab(t, lab.Spec{Name: "agent", Heads: 3, Compute: 1})
	h.must("up", "--yes")
	h.green()
	h.agentsHear(2)
	heads := h.names(lab.Head)

	t.Run("a daemon that is down everywhere moves it nowhere", func(t *testing.T) {
		h := h.in(t)
		was := h.settled()
		h.each(heads, "systemctl stop redis-server@6379 redis-server@6380")
		h.eventually("all agents see it", time.Minute, func() (bool, string) {
			for _, head := range heads {
				if r := h.report(head); r.Bad["redis"] == "" {
					return false, fmt.Sprint(head, r)
				}
			}
			return true, ""
		})
		h.staysAt(was, 5*time.Second)
		h.each(heads, "systemctl start redis-server@6379 redis-server@6380")
		h.eventually("redis is back", time.Minute, func() (bool, string) {
			r := h.run("status")
			return r.code == 0, r.stdout
		})
	})

	for _, f := range []struct{ name, spoil, mend string }{
		{"mariadbd hangs", "systemctl kill -s STOP mariadb", "systemctl kill -s CONT mariadb"},
		{"slurmctld is gone", "systemctl stop slurmctld", "systemctl start slurmctld"},
		{"the volume is gone", "systemctl stop mnt-gluster.mount || umount -l /mnt/gluster", "systemctl start mnt-gluster.mount; systemctl start slurmctld"},
		{"redis-server hangs", "systemctl kill -s STOP redis-server@6379", "systemctl kill -s CONT redis-server@6379"},
	} {
		t.Run(f.name, func(t *testing.T) {
			h := h.in(t)
			was := h.holder()
			begin := time.Now()
			h.sh(was, f.spoil)
			h.eventually("the address is at another head", time.Minute, func() (bool, string) {
				now := h.holders()
				return len(now) == 1 && now[0] != was, fmt.Sprint(now)
			})
			t.Logf("from %s after %.1f s", was, time.Since(begin).Seconds())
			h.sh(was, f.mend)
			h.eventually(was+" is fit again", 60*time.Second, func() (bool, string) {
				r := h.report(was)
				return r.Fit, fmt.Sprintf("%+v", r)
			})
		})
	}

	for _, signal := range []string{"STOP", "KILL"} {
		t.Run("keepalived gets SIG"+signal+": nobody answers twice", func(t *testing.T) {
			h := h.in(t)
			was := h.holder()
			h.sh(was, "systemctl mask --runtime --quiet keepalived; systemctl kill -s "+signal+" keepalived")
			h.eventually("the address is at one other head alone", time.Minute, func() (bool, string) {
				now := h.holders()
				return len(now) == 1 && now[0] != was, fmt.Sprint(now)
			})
			h.sh(was, "systemctl unmask --runtime --quiet keepalived; systemctl kill -s CONT keepalived; systemctl restart keepalived")
			h.eventually("one head holds it", time.Minute, func() (bool, string) {
				now := h.holders()
				return len(now) == 1, fmt.Sprint(now)
			})
		})
	}

	t.Run("cut off from the others: the address is given up, and stays with the majority after", func(t *testing.T) {
		h := h.in(t)
		was := h.holder()
		if err := h.Partition(t.Context(), lab.Fault{Hosts: []string{was}}); err != nil {
			t.Fatal(err)
		}
		h.eventually("only the majority has it", time.Minute, func() (bool, string) {
			now := h.holders()
			return len(now) == 1 && now[0] != was, fmt.Sprint(now)
		})
		if err := h.Heal(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.agentsHear(2)
		h.eventually("one head holds it", time.Minute, func() (bool, string) {
			now := h.holders()
			return len(now) == 1, fmt.Sprint(now)
		})
	})

	t.Run("F22: a machine that is no head has the address as well: seen, corrected, and over with it", func(t *testing.T) {
		h := h.in(t)
		was := h.settled()
		client := heads[0]
		if client == was {
			client = heads[1]
		}
		neighbour := func() string { // as a client has it
			return h.sh(client, "ping -c1 -W1 "+lab.VIP+" >/dev/null || true; ip neigh show "+lab.VIP)
		}
		before := neighbour()
		f := strings.Fields(before) // ADDRESS dev INTERFACE lladdr MAC STATE
		if len(f) < 5 {
			t.Fatalf("the client knows no neighbour: %q", before)
		}
		dev := h.sh("node001", "ip -o -4 addr show to "+h.address("node001")+" | awk '{print $2}'")
		wrong := h.sh("node001", "cat /sys/class/net/"+dev+"/address")
		begin := time.Now()
		h.sh("node001", "ip addr add "+lab.VIP+"/32 dev "+dev)
		claimed := func() (bool, string) {
			alarms := fmt.Sprint(h.report(was).Alarms)
			return strings.Contains(alarms, wrong), alarms
		}
		h.eventually("the holder sees it", time.Minute, claimed)
		t.Logf("seen after %.1f s", time.Since(begin).Seconds())
		if r := h.run("status"); r.code == 0 || !strings.Contains(r.stdout, wrong) {
			t.Errorf("status: %s", r)
		}
		begin = time.Now()
		h.sh(client, "ip neigh replace "+lab.VIP+" lladdr "+wrong+" dev "+f[2]+" nud reachable")
		h.eventually("a client that was led astray is corrected", time.Minute, func() (bool, string) {
			now := h.sh(client, "ip neigh show "+lab.VIP)
			return strings.Contains(now, f[4]), now
		})
		t.Logf("a client was corrected after %.1f s", time.Since(begin).Seconds())
		h.staysAt(was, time.Second)
		h.sh("node001", "ip addr del "+lab.VIP+"/32 dev "+dev)
		h.eventually("the alarm is over", 2*time.Minute, func() (bool, string) {
			yes, alarms := claimed()
			return !yes, alarms
		})
	})

	for _, signal := range []string{"STOP", "KILL"} {
		t.Run("every agent gets SIG"+signal+": nothing changes for anybody", func(t *testing.T) {
			h := h.in(t)
			was := h.settled()
			h.each(heads, "systemctl kill -s "+signal+" multihead-agent")
			h.staysAt(was, 5*time.Second)
			// systemd's watchdog brings back those that hang.
			h.agentsHear(2)
		})
	}
	spoiledFilesStayOneHeadsTrouble(h)
	// Redis has moved masters about; up spreads them again.
	h.must("up", "--yes")
	h.green()
	if r := h.must("up", "--yes"); !strings.Contains(r.stdout, "No changes") {
		t.Errorf("up: %s", r)
	}
}

// agentReport is what an agent says on its socket.
type agentReport struct {
	Fit  bool              `json:"fit"`
	Why  string            `json:"why"`
	Bad  map[string]string `json:"bad"`
	Dead map[string]string `json:"dead"`

	Alarms []string `json:"alarms"`
	Peers  map[string]struct {
		Heard bool `json:"heard"`
	} `json:"peers"`
}

func (h *hosts) report(head string) agentReport {
	h.t.Helper()
	var r agentReport
	out, err := h.trySh(head, "curl -s --max-time 3 --unix-socket /run/multihead/agent.sock http://agent/v1/report")
	if err != nil {
		return r // it is on its way
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		h.t.Logf("%s: %v: %s", head, err, out)
	}
	return r
}

// agentsHear waits until every head's agent hears n others.
func (h *hosts) agentsHear(n int) {
	h.t.Helper()
	h.eventually(fmt.Sprintf("every agent hears %d others", n), time.Minute, func() (bool, string) {
		for _, head := range h.names(lab.Head) {
			heard := 0
			r := h.report(head)
			for _, p := range r.Peers {
				if p.Heard {
					heard++
				}
			}
			if heard != n || !r.Fit {
				return false, fmt.Sprintf("%s: %+v", head, r)
			}
		}
		return true, ""
	})
}

// holders are the heads that have the virtual address.
func (h *hosts) holders() []string {
	var out []string
	for _, head := range h.names(lab.Head) {
		if got, _ := h.trySh(head, "ip -o addr show | grep -w "+lab.VIP); got != "" {
			out = append(out, head)
		}
	}
	return out
}

// holder is the one head that has it.
func (h *hosts) holder() string {
	h.t.Helper()
	var now []string
	h.eventually("one head holds the address", time.Minute, func() (bool, string) {
		now = h.holders()
		return len(now) == 1, fmt.Sprint(now)
	})
	return now[0]
}

// settled is the holder once the address is where it belongs when all is well: at the
// first head of the file, which takes it back half a minute after it is well again.
func (h *hosts) settled() string {
	h.t.Helper()
	first := h.names(lab.Head)[0]
	h.eventually("the address is back at "+first, 2*time.Minute, func() (bool, string) {
		now := h.holders()
		return len(now) == 1 && now[0] == first, fmt.Sprint(now)
	})
	return first
}

// staysAt looks for a while whether the address stays where it is: that nothing
// happens cannot be awaited.
func (h *hosts) staysAt(head string, during time.Duration) {
	h.t.Helper()
	for begin := time.Now(); time.Since(begin) < during; {
		if now := h.holders(); len(now) != 1 || now[0] != head {
			h.t.Fatalf("the address was at %s and is at %v", head, now)
		}
	}
}

// each runs a script on several hosts at once: what is the same everywhere has to
// become so in one moment.
func (h *hosts) each(names []string, script string) {
	h.t.Helper()
	var g errgroup.Group
	for _, n := range names {
		g.Go(func() error {
			if out, err := h.trySh(n, script); err != nil {
				return fmt.Errorf("%s: %s: %w: %s", n, script, err, out)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		h.t.Fatal(err)
	}
}
