package plan

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"multihead/internal/host"
	"multihead/internal/host/hosttest"
)

// upgradable is a machine whose packages have versions; the value is status and version.
// apt installs NAME=VERSION, and what brings has with it.
func upgradable(have map[string]string, brings map[string]string) *hosttest.Machine {
	m := hosttest.New("s1").Dir("/etc", "/usr/sbin", "/var/cache")
	ok := func(host.Cmd) (string, error) { return "", nil }
	m.OnQuery("dpkg-query", func(host.Cmd) (string, error) {
		var out strings.Builder
		for _, n := range slices.Sorted(maps.Keys(have)) {
			status, version, _ := strings.Cut(have[n], " ")
			fmt.Fprintf(&out, "%-3s\t%s\t%s\t%s\n", status, n, version, n)
		}
		return out.String(), nil
	})
	m.OnQuery("dpkg-query --status", func(cmd host.Cmd) (string, error) {
		return "Package: " + cmd.Argv[2] + "\nStatus: install ok installed\nVersion: 1\nConffiles:\n /etc/x 0\nDescription: x\n y\n", nil
	})
	m.OnQuery("dpkg-query -L", func(host.Cmd) (string, error) { return "/.\n/usr\n/usr/bin\n/usr/bin/x\n", nil })
	m.OnRun("dpkg --configure", ok)
	m.OnRun("apt-get", func(cmd host.Cmd) (string, error) {
		at := slices.Index(cmd.Argv, "install")
		if slices.Contains(cmd.Argv, "--simulate") {
			return "Inst x [1] (2 Site [amd64])\nInst libnew (1 Site [amd64])\nConf x (2 Site [amd64])\n", nil
		}
		if slices.Contains(cmd.Argv, "--download-only") {
			return "", nil
		}
		for _, arg := range cmd.Argv[at+1:] {
			name, version, _ := strings.Cut(arg, "=")
			have[name] = "ii " + version
		}
		maps.Copy(have, brings)
		return "", nil
	})
	m.OnRun("bash", func(cmd host.Cmd) (string, error) {
		m.File(cmd.Argv[len(cmd.Argv)-1], "deb")
		return "", nil
	})
	m.OnRun("dpkg --force-downgrade", func(cmd host.Cmd) (string, error) {
		for _, f := range cmd.Argv[5:] {
			name, version, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(f, KeepDir+"/"), ".deb"), "_")
			have[name] = "ii " + version
		}
		return "", nil
	})
	m.OnRun("dpkg --remove", func(cmd host.Cmd) (string, error) {
		for _, n := range cmd.Argv[2:] {
			delete(have, n)
		}
		return "", nil
	})
	return m
}

func TestAnUpgradeIsTakenBackWithAllThatItBrought(t *testing.T) {
	have := map[string]string{"x": "ii 1", "libx": "ii 1", "other": "ii 7"}
	m := upgradable(have, map[string]string{"libx": "ii 2", "libnew": "ii 1"})
	m.File(KeepDir+"/libx_1.deb", "deb")
	u := Upgrade{Changes: []Version{{"x", "1", "2"}}}
	if done, err := u.Done(t.Context(), m); done || err != nil {
		t.Fatal(done, err)
	}
	if _, err := u.Ready().Do(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if have["x"] != "ii 1" {
		t.Errorf("making ready has changed it: %v", have)
	}
	undo, err := u.Do(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	if done, err := u.Done(t.Context(), m); !done || err != nil {
		t.Error(done, err)
	}
	if done, _ := undo.Done(t.Context(), m); done {
		t.Error("it is not taken back yet")
	}
	if _, err := undo.Do(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{"x": "ii 1", "libx": "ii 1", "other": "ii 7"}; !maps.Equal(have, want) {
		t.Errorf("%v", have)
	}
	if done, err := undo.Done(t.Context(), m); !done || err != nil {
		t.Error(done, err)
	}
	if _, err := m.Stat(t.Context(), policyPath); err == nil {
		t.Error("daemons may not start any more")
	}
}

func TestAPackageWhoseScriptFailsIsTakenBack(t *testing.T) {
	have := map[string]string{"x": "ii 1"}
	m := upgradable(have, nil)
	m.File(KeepDir+"/x_1.deb", "deb")
	m.OnRun("apt-get", func(host.Cmd) (string, error) { have["x"] = "iF 2"; return "", errors.New("its script ends with 1") })
	undo, err := Upgrade{Changes: []Version{{"x", "1", "2"}}}.Do(t.Context(), m)
	if err == nil || undo == nil {
		t.Fatal(undo, err)
	}
	if _, err := undo.Do(t.Context(), m); err != nil || have["x"] != "ii 1" {
		t.Errorf("%v, %v", have, err)
	}
}

func TestWhatAFailureLeftUnfinishedElsewhereIsFinishedAndNothingKeepsTheRest(t *testing.T) {
	have := map[string]string{"dbus": "ii 1", "liby": "ii 1", "x": "ii 1"}
	m := upgradable(have, nil)
	m.File(KeepDir+"/x_1.deb", "deb")
	m.OnRun("apt-get", func(host.Cmd) (string, error) {
		have["x"], have["liby"], have["dbus"] = "ii 2", "ii 2", "it 1" // triggers of dbus are pending
		return "", errors.New("another one's files are in the way")
	})
	m.OnRun("dpkg --configure", func(host.Cmd) (string, error) { have["dbus"] = "ii 1"; return "", nil })
	undo, err := Upgrade{Changes: []Version{{"x", "1", "2"}}}.Do(t.Context(), m)
	if err == nil || undo == nil {
		t.Fatal(undo, err)
	}
	_, err = undo.Do(t.Context(), m)
	if want := map[string]string{"dbus": "ii 1", "liby": "ii 2", "x": "ii 1"}; !maps.Equal(have, want) {
		t.Errorf("%v", have)
	}
	if err == nil || !strings.Contains(err.Error(), "liby 2 stays") || strings.Contains(err.Error(), "dbus") {
		t.Errorf("%v", err)
	}
}

func TestWhatWasNotPutAsideIsSaidToStay(t *testing.T) {
	have := map[string]string{"x": "ii 1"}
	m := upgradable(have, nil)
	undo, err := Upgrade{Changes: []Version{{"x", "1", "2"}}}.Do(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := undo.Do(t.Context(), m); err == nil || !strings.Contains(err.Error(), "x 2 stays") {
		t.Errorf("%v", err)
	}
}

func TestWhatAptWouldTakeOffIsRefusedBeforeAnythingIsDone(t *testing.T) {
	m := upgradable(map[string]string{"x": "ii 1"}, nil)
	m.OnRun("apt-get --simulate", func(host.Cmd) (string, error) { return "Remv mine [1]\nInst x [1] (2 Site [amd64])\n", nil })
	_, err := Upgrade{Changes: []Version{{"x", "1", "2"}}}.Ready().Do(t.Context(), m)
	if err == nil || !strings.Contains(err.Error(), "mine") || len(ran(m, "bash")) > 0 {
		t.Errorf("%v", err)
	}
}

func TestOnlyTheLastVersionIsKeptAside(t *testing.T) {
	m := upgradable(map[string]string{"x": "ii 1"}, nil)
	m.Dir(KeepDir).File(KeepDir+"/x_0.deb", "deb").File(KeepDir+"/xy_0.deb", "deb")
	if _, err := (Upgrade{Changes: []Version{{"x", "1", "2"}}}).Ready().Do(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	entries, err := m.ReadDir(t.Context(), KeepDir)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name)
	}
	if err != nil || !slices.Equal(names, []string{"x_1.deb", "xy_0.deb"}) {
		t.Errorf("%v, %v", names, err)
	}
}

func TestAPackageIsMadeOfWhatIsItsOwn(t *testing.T) {
	m := hosttest.New("s1").Dir("/usr/lib/x").Link("usr/lib", "/lib")
	got, err := packed(t.Context(), m, "/.\n/lib\n/lib/x\n/lib/x/y\n/usr\n/usr/lib\n/usr/lib/x\n/usr/share\n/usr/share/doc/gone\ndiverted by z to: /a\n")
	want := []string{"lib/x", "lib/x/y", "usr", "usr/lib", "usr/lib/x", "usr/share/doc/gone"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	control := controlOf("Package: x\nStatus: install ok installed\nVersion: 1\nConffiles:\n /etc/x 0a\n /etc/y 0b\nDescription: one\n two\n")
	if control != "Package: x\nVersion: 1\nDescription: one\n two\n" {
		t.Errorf("%q", control)
	}
}
