//go:build lab

package test

import (
	"fmt"
	"sort"
	"strings"
	"sync"
)

// fingerprint is everything of a host that a run which changes nothing must
// leave as it is: every file outside of what daemons write by themselves, with
// mode, owner, size, inode, time and link target; every unit with its state and
// the time it was started; every daemon's process with its start time.
type fingerprint map[string]string

// daemonsWrite are the places that running daemons and the kernel write without
// being asked by anybody.
var daemonsWrite = []string{"/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp", "/var/log", "/var/cache",
	"/var/lib/mysql", "/var/lib/redis", "/var/lib/chrony", "/var/lib/systemd", "/var/lib/glusterd", "/var/spool",
	"/var/lib/slurm", "/var/lib/multihead", "/data", "/mnt", "/srv"}

// The units left out are started by the system bus when somebody asks them
// something, and end by themselves.
const fingerprintScript = `
find / %s -printf 'file %%p|%%M %%U:%%G %%s %%i %%T@ %%l\n' 2>/dev/null
systemctl list-units --all --plain --no-legend --type=service,mount,timer,socket | awk '{print $1}' |
  grep -v -e '^user' -e '^session' -e '^ssh@' -e '^sshd@' -e '^run-' -e 'systemd-tmpfiles-clean' -e '^apt-' -e '^dpkg-' -e 'modprobe@' -e systemd-timedated -e systemd-hostnamed -e systemd-localed |
  while read -r u; do
    s=$(systemctl show "$u" -p ActiveState,UnitFileState,ExecMainStartTimestamp,InvocationID --value | tr '\n' ' ')
    # A unit that was never started is only listed because somebody asked for it.
    case "$s" in ' inactive '*) continue;; esac
    echo "unit $u|$s"
  done
echo "packages |$(dpkg-query --show --showformat='${db:Status-Abbrev} ${Package} ${Version}\n' | sort | md5sum)"
for p in /proc/[0-9]*; do
  c=$(cat $p/comm 2>/dev/null) || continue
  # A login brings its user's own systemd, which goes some time after it.
  [ "$c" = systemd ] && [ $p != /proc/1 ] && continue
  case "$c" in sshd*|sh|find|systemctl|awk|grep|cat|tr|sleep|multihead*|sd-*|\(*|systemd-userwor*|systemd-timedat*|systemd-hostnam*|gluster|glusterepoll*) continue;; esac
  s=$(cut -d')' -f2 $p/stat 2>/dev/null | awk '{print $20}') || continue
  case "$(readlink $p/exe 2>/dev/null)" in '') continue;; esac
  echo "process ${p#/proc/}|$c started $s"
done`

// fingerprints takes those of all hosts, at the same time.
func (h *hosts) fingerprints() map[string]fingerprint {
	h.t.Helper()
	var prune []string
	for _, p := range daemonsWrite {
		prune = append(prune, "-path "+p)
	}
	script := fmt.Sprintf(fingerprintScript, `\( `+strings.Join(prune, " -o ")+` \) -prune -o`)
	out := map[string]fingerprint{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, name := range h.all() {
		wg.Add(1)
		go func() {
			defer wg.Done()
			text, err := h.trySh(name, script)
			if err != nil {
				h.t.Errorf("fingerprint of %s: %v", name, err)
				return
			}
			fp := fingerprint{}
			for _, line := range strings.Split(text, "\n") {
				if key, value, ok := strings.Cut(line, "|"); ok {
					fp[key] = value
				}
			}
			mu.Lock()
			defer mu.Unlock()
			out[name] = fp
		}()
	}
	wg.Wait()
	return out
}

// unchanged fails the test where a host differs from its fingerprint.
func (h *hosts) unchanged(was map[string]fingerprint, after string) {
	h.t.Helper()
	h.same(was, h.fingerprints(), after)
}

// restored is unchanged for what was changed and taken back: every file is what
// it was, with its time; but a directory in which a file came and went has a
// newer time, a file that was put back another inode, and daemons that ran for
// a while have left what they leave (Python its byte code, munged its seed),
// and data that was begun is kept aside, never deleted. Of the package manager's
// own books, what counts is the list of packages.
func (h *hosts) restored(was map[string]fingerprint, after string) {
	h.t.Helper()
	h.same(settled(was), settled(h.fingerprints()), after)
}

func settled(all map[string]fingerprint) map[string]fingerprint {
	out := map[string]fingerprint{}
	for name, fp := range all {
		out[name] = fingerprint{}
		for key, value := range fp {
			path, isFile := strings.CutPrefix(key, "file ")
			f := strings.Fields(value)
			switch {
			case strings.HasPrefix(path, "/var/lib/dpkg/"), strings.Contains(path, "__pycache__"), strings.HasSuffix(path, "munged.seed"), strings.HasPrefix(path, "/var/lib/mysql.undone-"), strings.HasPrefix(key, "process "):
				continue
			case isFile && len(f) >= 5 && strings.HasPrefix(value, "d"):
				value = f[0] + " " + f[1]
			case isFile && len(f) >= 5:
				value = strings.Join(append(f[:3:3], f[4:]...), " ")
			case strings.HasPrefix(key, "unit "):
				value = unitWords(f)
			}
			out[name][key] = value
		}
	}
	return out
}

// unitWords are a unit's state without when and how often it was started.
func unitWords(f []string) string {
	var out []string
	for _, w := range f {
		switch w {
		case "active", "inactive", "failed", "enabled", "disabled", "static", "masked", "indirect", "alias", "generated":
			out = append(out, w)
		}
	}
	return strings.Join(out, " ")
}

func (h *hosts) same(was, is map[string]fingerprint, after string) {
	h.t.Helper()
	for name, fp := range was {
		if len(fp) < 1000 {
			h.t.Fatalf("the fingerprint of %s has only %d lines: it would prove nothing", name, len(fp))
		}
		var diff []string
		for key, value := range fp {
			if now, ok := is[name][key]; !ok {
				diff = append(diff, "gone:    "+key+" "+value)
			} else if now != value {
				diff = append(diff, "changed: "+key+"\n    was "+value+"\n    is  "+now)
			}
		}
		for key, value := range is[name] {
			if _, ok := fp[key]; !ok {
				diff = append(diff, "new:     "+key+" "+value)
			}
		}
		if len(diff) > 0 {
			sort.Strings(diff)
			if len(diff) > 30 {
				diff = append(diff[:30], "…")
			}
			h.t.Errorf("%s touched %s:\n%s", after, name, strings.Join(diff, "\n"))
		}
	}
}
