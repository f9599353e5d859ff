//go:build lab

package test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"multihead/internal/lab"
)

// With fencing the last head of four goes on, once it is proven that the others
// are off; and never before, whatever the devices say or do not say. Of two sides
// one survives, and a majority is never shot at.
func TestWhoSurvivesByFencing(t *testing.T) {
	t.Parallel() // it waits more than it works; beside one other
	h := newLab(t, lab.Spec{Name: "fence", Heads: 4, FenceTool: binary})
	h.only("keepalived: true") // it is about who goes on, not about what
	h.must("up", "--yes")
	h.agentsHear(3)

	t.Run("every head asks every device", func(t *testing.T) {
		h := h.in(t)
		r := h.must("fence", "status")
		if strings.Count(r.stdout, "server1 server2 server3 server4") != 4 || strings.Contains(r.stdout, "unknown") {
			t.Error(r)
		}
		h.mode(lab.FenceFail, "server2")
		if r := h.run("fence", "status", "server2"); r.code != 1 || !strings.Contains(r.stdout, "exit code 1") {
			t.Error(r)
		}
		h.mode(lab.FenceOK)
		h.noSecretIsSeen()
	})

	t.Run("F20: devices that lie, hang or fail prove nothing", func(t *testing.T) {
		h := h.in(t)
		h.mode(lab.FenceLie, "server3")
		h.mode(lab.FenceHang, "server4")
		h.cutPower("server3", "server4")
		h.alarmed("server3: fence_lab says that it is still on", "server4: fence_lab off: no answer")
		h.mode(lab.FenceOK, "server3")
		h.mode(lab.FenceFail, "server4")
		h.alarmed("server4: fence_lab: exit code 1")
		if r := h.run("status"); !strings.Contains(r.stdout, "not proven off") {
			t.Errorf("a person does not see it: %s", r)
		}
		h.mode(lab.FenceOK)
		h.eventually("both are proven off once the devices are honest", 3*time.Minute, func() (bool, string) {
			r := h.report("server2")
			return len(r.Dead) == 2 && len(h.holders()) == 1, fmt.Sprintf("%+v", r)
		})
		h.backToFour()
	})

	t.Run("F20: three of four are gone and no device answers", func(t *testing.T) {
		h := h.in(t)
		h.mode(lab.FenceHang)
		h.cutPower("server1", "server2", "server3")
		h.eventually("the last one says why it does not go on", 90*time.Second, func() (bool, string) {
			r := h.report("server4")
			return strings.Contains(fmt.Sprint(r.Alarms), "may be alive") && !r.Fit && len(r.Dead) == 0 && len(h.holders()) == 0, fmt.Sprintf("%+v", r)
		})
		h.mode(lab.FenceOK)
		h.backToFour()
	})

	t.Run("two against two: one side survives", func(t *testing.T) {
		h := h.in(t)
		h.cut("server1", "server2")
		h.eventually("the other side is off, and this one has the address", 3*time.Minute, func() (bool, string) {
			on, now := h.running(), h.holders()
			return slices.Equal(on, []string{"server1", "server2"}) && len(now) == 1, fmt.Sprint(on, now)
		})
		h.backToFour()
	})

	t.Run("one against three: nobody is switched off", func(t *testing.T) {
		h := h.in(t)
		h.cut("server1")
		h.eventually("the majority has the address, and the one says what it thinks", 90*time.Second, func() (bool, string) {
			now, r := h.holders(), h.report("server1")
			return len(now) == 1 && now[0] != "server1" && strings.Contains(fmt.Sprint(r.Alarms), "may be alive"), fmt.Sprintf("%v %+v", now, r)
		})
		// That nothing happens cannot be awaited: all waits of all sides are over by then.
		for begin := time.Now(); time.Since(begin) < 45*time.Second; time.Sleep(time.Second) {
			if on := h.running(); len(on) != 4 {
				t.Fatalf("only %v are on", on)
			}
		}
		h.backToFour()
	})
}

// F15: three of four lose their power at once, and the last one serves. Slurm is
// not asked: where both hosts of slurmdbd are off, slurmctld takes over and then
// waits for them again and again, so that its answers come late or not at all.
func TestTheLastOfFourServes(t *testing.T) {
	t.Parallel() // it waits more than it works; beside one other
	h := newLab(t, lab.Spec{Name: "fencefull", Heads: 4, FenceTool: binary})
	h.must("up", "--yes")
	h.green()
	h.agentsHear(3)
	h.sh("server1", "mariadb -e 'create database fence; create table fence.t (i int primary key); insert into fence.t values (1)'; echo before >/mnt/gluster/fence; sync -f /mnt/gluster/fence")
	begin := time.Now()
	h.cutPower("server1", "server2", "server3")
	h.eventually("all three are proven off", 90*time.Second, func() (bool, string) {
		r := h.report("server4")
		return len(r.Dead) == 3, fmt.Sprintf("%+v", r)
	})
	t.Logf("proofs after %.1f s", time.Since(begin).Seconds())
	h.eventually("the last one has the address", 60*time.Second, func() (bool, string) {
		return slices.Equal(h.holders(), []string{"server4"}), fmt.Sprintf("%+v", h.report("server4"))
	})
	t.Logf("address after %.1f s", time.Since(begin).Seconds())
	serves := func(name, probe string) {
		h.eventually(name+" serves", 150*time.Second, func() (bool, string) {
			out, err := h.trySh("server4", "timeout 25 sh -c \""+probe+"\" 2>&1")
			return err == nil, fmt.Sprint(out, err)
		})
		t.Logf("%s after %.1f s", name, time.Since(begin).Seconds())
	}
	serves("SQL", "mariadb -N -e 'insert ignore into fence.t values (2); select count(*) from fence.t' | grep -qx 2")
	// That the volume's copy here had all when the others died nobody knows but a
	// person.
	h.eventually("the volume is a person's to decide", 60*time.Second, func() (bool, string) {
		alarms := fmt.Sprint(h.report("server4").Alarms)
		return strings.Contains(alarms, "glusterfs") && strings.Contains(alarms, "--accept-data-loss"), alarms
	})
	if r := h.run("recover", "--yes", "--service", "glusterfs", "--accept-data-loss", h.Spec.Name); !strings.Contains(r.String(), "server1") {
		t.Errorf("recover does not say who was left out: %s", r)
	}
	serves("the volume", "grep -qx before /mnt/gluster/fence && echo after >/mnt/gluster/fence2")
	h.sh("server4", "systemctl restart multihead-agent")
	h.eventually("a new agent has the proofs of the one before", time.Minute, func() (bool, string) {
		r := h.report("server4")
		return len(r.Dead) == 3 && r.Fit && !strings.Contains(fmt.Sprint(r.Dead), "again"), fmt.Sprintf("%+v", r)
	})
	if now := h.holders(); !slices.Equal(now, []string{"server4"}) {
		t.Errorf("the address is at %v", now)
	}
	// Once it is in charge it tells those that come back and stand by to end: they
	// have to come back all the same.
	h.eventually("slurmctld takes over", 2*time.Minute, func() (bool, string) {
		out := h.sh("server4", "journalctl --no-pager -u slurmctld | grep -F 'server4 taking over' || systemctl status slurmctld || true")
		return strings.Contains(out, "taking over"), out
	})
	h.backToFour()
}

// only has every head run nothing but these services.
func (h *hosts) only(services string) {
	h.t.Helper()
	data, err := os.ReadFile(h.file)
	if err != nil {
		h.t.Fatal(err)
	}
	text := regexp.MustCompile(`services: \{.*\}`).ReplaceAllString(string(data), "services: {"+services+"}")
	h.file = h.t.TempDir() + "/cluster.yaml"
	if err := os.WriteFile(h.file, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

func (h *hosts) mode(m lab.FenceMode, names ...string) {
	h.t.Helper()
	if err := h.SetFence(h.t.Context(), m, names...); err != nil {
		h.t.Fatal(err)
	}
}

func (h *hosts) cutPower(names ...string) {
	h.t.Helper()
	if err := h.PowerOff(h.t.Context(), names...); err != nil {
		h.t.Fatal(err)
	}
}

// cut parts hosts from all other hosts; this machine, and with it the power
// device, is reached by all.
func (h *hosts) cut(names ...string) {
	h.t.Helper()
	if err := h.Partition(h.t.Context(), lab.Fault{Hosts: names}); err != nil {
		h.t.Fatal(err)
	}
}

// running are the hosts that have power.
func (h *hosts) running() []string {
	h.t.Helper()
	var out []string
	for _, host := range h.Hosts() {
		s, err := host.State()
		if err != nil {
			h.t.Fatal(err)
		}
		if s != lab.Off {
			out = append(out, host.Name)
		}
	}
	return out
}

// alarmed waits until a person is told these things, and nobody has taken over.
func (h *hosts) alarmed(what ...string) {
	h.t.Helper()
	h.eventually("an alarm", 3*time.Minute, func() (bool, string) {
		r := h.report("server1")
		said := fmt.Sprint(r.Alarms)
		for _, w := range what {
			if !strings.Contains(said, w) {
				return false, fmt.Sprintf("%+v", r)
			}
		}
		return true, ""
	})
	for _, head := range []string{"server1", "server2"} {
		if r := h.report(head); r.Fit || len(r.Dead) > 0 {
			h.t.Errorf("%s goes on without a proof: %+v", head, r)
		}
	}
	if now := h.holders(); len(now) > 0 {
		h.t.Errorf("%v hold the address without a proof", now)
	}
}

// backToFour gives everything its power and network again, and waits until the
// cluster is well by itself.
func (h *hosts) backToFour() {
	h.t.Helper()
	if err := h.Heal(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	if err := h.PowerOn(h.t.Context()); err != nil {
		h.t.Log(err) // a boot that takes long on a busy machine; what counts is below
	}
	h.eventually("all heads are well again", 6*time.Minute, func() (bool, string) {
		r := h.run("status")
		return r.code == 0, r.stdout
	})
	h.agentsHear(3)
}

// noSecretIsSeen looks for the device's password where others could see it.
func (h *hosts) noSecretIsSeen() {
	h.t.Helper()
	secrets, err := h.Secrets()
	if err != nil {
		h.t.Fatal(err)
	}
	for _, head := range h.names(lab.Head) {
		out := h.sh(head, "journalctl --no-pager -u multihead-agent; find /etc /run /tmp /usr/local /usr/sbin /var/lib/multihead /var/cache/multihead /var/log -xdev -type f -perm /044 -size -1M 2>/dev/null | xargs -r grep -sl "+secrets["FENCE_PASSWORD"]+" || true")
		if strings.Contains(out, secrets["FENCE_PASSWORD"]) || strings.Contains(out, "\n/") {
			h.t.Errorf("%s: the device's password can be read: %s", head, out)
		}
	}
}
