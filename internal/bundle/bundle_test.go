package bundle

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"multihead/internal/host"
	"multihead/internal/host/hosttest"
	"multihead/internal/plan"
)

// small writes a bundle of two packages that are none, whole as far as checksums go.
func small(t *testing.T) (dir string, m *Manifest) {
	t.Helper()
	dir = t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, repository), 0o755); err != nil {
		t.Fatal(err)
	}
	m = &Manifest{FormatVersion: formatNow, ID: "20261122T080000Z", Release: "trixie", Architecture: "amd64"}
	var sums strings.Builder
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256([]byte(text)), name)
	}
	for _, name := range []string{"munge", "redis-server"} {
		file := name + "_1_amd64.deb"
		put(repository+"/"+file, "this is "+name)
		m.Packages = append(m.Packages, Package{Name: name, Version: "1", File: file, Size: int64(len("this is " + name)), SHA256: fmt.Sprintf("%x", sha256.Sum256([]byte("this is "+name)))})
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{manifestFile: string(text), keyFile: "key", toolFile: "tool", repository + "/Packages": "index", repository + "/InRelease": "signed"} {
		put(name, text)
	}
	put(sumsFile, sums.String())
	return dir, m
}

func TestWhatIsWrongWithABundleIsNamed(t *testing.T) {
	rewrite := func(dir, name string, f func(string) string) {
		p := filepath.Join(dir, name)
		data, _ := os.ReadFile(p)
		_ = os.WriteFile(p, []byte(f(string(data))), 0o644)
	}
	for name, tt := range map[string]struct {
		harm func(dir string)
		want string // empty: nothing is wrong
	}{
		"whole":                    {func(string) {}, ""},
		"a package is missing":     {func(d string) { _ = os.Remove(filepath.Join(d, repository, "munge_1_amd64.deb")) }, "munge (repository/munge_1_amd64.deb): is missing"},
		"a package is damaged":     {func(d string) { rewrite(d, repository+"/munge_1_amd64.deb", strings.ToUpper) }, "munge (repository/munge_1_amd64.deb): is damaged"},
		"a package is cut off":     {func(d string) { _ = os.Truncate(filepath.Join(d, repository, "redis-server_1_amd64.deb"), 3) }, "redis-server (repository/redis-server_1_amd64.deb): is damaged"},
		"the key is missing":       {func(d string) { _ = os.Remove(filepath.Join(d, keyFile)) }, keyFile + ": is missing"},
		"the tool is damaged":      {func(d string) { rewrite(d, toolFile, strings.ToUpper) }, toolFile + ": is damaged"},
		"the manifest was changed": {func(d string) { rewrite(d, manifestFile, func(s string) string { return s + " " }) }, manifestFile + ": is damaged"},
		"a line was cut out": {func(d string) {
			rewrite(d, sumsFile, func(s string) string { _, after, _ := strings.Cut(s, "\n"); return after })
		}, "munge (repository/munge_1_amd64.deb): is not in " + sumsFile},
		"the list of checksums is gone":    {func(d string) { _ = os.Remove(filepath.Join(d, sumsFile)) }, sumsFile + ": is missing"},
		"the list of checksums is damaged": {func(d string) { rewrite(d, sumsFile, func(string) string { return "zz  x\n" }) }, sumsFile + ": is damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, _ := small(t)
			tt.harm(dir)
			_, _, err := Verify(dir)
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var broken *Broken
			if !errors.As(err, &broken) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v does not say %q", err, tt.want)
			}
		})
	}
}

func TestNoBundleIsNotABrokenOne(t *testing.T) {
	_, _, err := Verify(t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "is no bundle") {
		t.Error(err)
	}
	if _, err := parseManifest([]byte(`{"format_version":9}`)); err == nil || !strings.Contains(err.Error(), "format 9") {
		t.Error(err)
	}
	if _, err := parseManifest([]byte(`{"format_version":1,"packages":[{"name":"x","file":"../../etc/passwd"}]}`)); err == nil {
		t.Error("a file outside of the repository is taken")
	}
}

// machine is a Debian host that has some packages.
func machine(name, release string, installed ...string) *hosttest.Machine {
	var list strings.Builder
	for _, p := range installed {
		fmt.Fprintf(&list, "ii %s\n", p)
	}
	return hosttest.New(name).File("/etc/os-release", "ID=debian\nVERSION_CODENAME="+release+"\n").
		Answer("dpkg-query", list.String()).Answer("dpkg --print-architecture", "amd64\n")
}

func installing(host string, names ...string) plan.Plan {
	return plan.Plan{Phases: []plan.Phase{{Name: "prepare", Stages: []plan.Stage{{Steps: []plan.Step{
		{ID: "base.packages", Host: host, Action: plan.Packages{Names: names}}, {ID: "x", Host: host, Action: plan.Dir{Path: "/x"}}}}}}}}
}

func TestPlansInstallFromTheBundleAlone(t *testing.T) {
	p := Site{Dir: "/srv/b"}.Provide(installing("a", "munge"))
	if len(p.Phases) != 2 || p.Phases[0].Name != Phase || len(p.Phases[1].After) != 1 || p.Phases[1].After[0] != Phase {
		t.Fatalf("%+v", p)
	}
	if a := p.Phases[1].Stages[0].Steps[0].Action.(plan.Packages); a.Source != sourceFile {
		t.Errorf("it installs from %q", a.Source)
	}
	nothing := plan.Plan{Phases: []plan.Phase{{Name: "redis"}}}
	if got := (Site{}).Provide(nothing); len(got.Phases) != 1 || got.Phases[0].After != nil {
		t.Errorf("a plan that installs nothing became %+v", got)
	}
}

func TestABundleThatDoesNotSufficeIsFoundBeforeAnythingIsDone(t *testing.T) {
	for name, tt := range map[string]struct {
		host  *hosttest.Machine
		needs []string
		harm  func(dir string)
		want  string // empty: nothing is wrong
	}{
		"it has what is needed":       {machine("a", "trixie"), []string{"munge"}, nil, ""},
		"all is installed, no bundle": {machine("a", "trixie", "munge"), []string{"munge"}, func(d string) { _ = os.Remove(filepath.Join(d, manifestFile)) }, ""},
		"no bundle":                   {machine("a", "trixie"), []string{"munge"}, func(d string) { _ = os.Remove(filepath.Join(d, manifestFile)) }, "is no bundle"},
		"broken":                      {machine("a", "trixie"), []string{"munge"}, func(d string) { _ = os.Remove(filepath.Join(d, keyFile)) }, keyFile},
		"a package that it has not":   {machine("a", "trixie"), []string{"munge", "keepalived"}, nil, "no keepalived, which a needs"},
		"one that is installed":       {machine("a", "trixie", "keepalived"), []string{"munge", "keepalived"}, nil, ""},
		"another release":             {machine("a", "bookworm"), []string{"munge"}, nil, "a runs bookworm, and the bundle is for trixie"},
		"another architecture":        {machine("a", "trixie").Answer("dpkg --print-architecture", "arm64\n"), []string{"munge"}, nil, "a is arm64"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, _ := small(t)
			if tt.harm != nil {
				tt.harm(dir)
			}
			site := Site{Dir: dir}
			readers := map[string]host.Reader{"a": tt.host}
			prop, err := plan.Propose(t.Context(), site.Provide(installing("a", tt.needs...)), readers)
			if err != nil {
				t.Fatal(err)
			}
			err = site.Check(t.Context(), prop, readers)
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("%v does not say %q", err, tt.want)
			}
			if len(tt.host.Changes()) > 0 {
				t.Errorf("it changed something: %v", tt.host.Changes())
			}
		})
	}
}

// simulates is a host whose apt would install what it is told.
func simulates(m *hosttest.Machine, said string) *hosttest.Machine {
	return m.OnRun("apt-get", func(cmd host.Cmd) (string, error) {
		if strings.Contains(cmd.String(), "--simulate") {
			return said, nil
		}
		return "", nil
	})
}

func TestAHostIsBroughtWhatItLacksAndItsAptKnowsTheKeyForThisSourceAlone(t *testing.T) {
	dir, m := small(t)
	h := simulates(machine("a", "trixie").Dir("/etc/apt/sources.list.d").Dir("/var/cache"), "Inst munge (1 multihead:now [amd64])\nConf munge (1 x [amd64])\n")
	b := bring{Site{Dir: dir}, []string{"munge"}}
	before := strings.Join(h.Tree(), "\n")
	undo, err := b.Do(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	at := "/var/cache/multihead-bundle/" + m.ID
	source, err := h.ReadFile(t.Context(), sourceFile)
	if err != nil || !strings.Contains(string(source), "[signed-by="+trustFile+"] file:"+at+" ./") {
		t.Errorf("%s %v", source, err)
	}
	if data, err := h.ReadFile(t.Context(), at+"/munge_1_amd64.deb"); err != nil || string(data) != "this is munge" {
		t.Errorf("%s %v", data, err)
	}
	if _, err := h.Stat(t.Context(), at+"/redis-server_1_amd64.deb"); err == nil {
		t.Error("it brought what is not needed")
	}
	if _, err := undo.Do(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	if after := strings.Join(h.Tree(), "\n"); after != before {
		t.Errorf("taken away:\n%s\nwas:\n%s", after, before)
	}
}

func TestWhatAptWouldInstallAndTheBundleHasNotIsAnError(t *testing.T) {
	dir, _ := small(t)
	for said, want := range map[string]string{
		"Inst munge (2 x [amd64])\n":                "munge 2, which the bundle does not have",
		"Inst munge\n":                              "not understood",
		"Inst munge [0.9] (1 x [amd64])\n":          "",
		"Inst redis-server:amd64 (1 x [amd64]) [x]": "",
	} {
		h := simulates(machine("a", "trixie").Dir("/etc/apt/sources.list.d").Dir("/var/cache"), said)
		_, err := bring{Site{Dir: dir}, []string{"munge"}}.Do(t.Context(), h)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v", said, err)
		}
	}
}

func TestDebianIsToldFromOthers(t *testing.T) {
	for text, want := range map[string]string{
		"ID=debian\nVERSION_CODENAME=trixie\n": "trixie", "ID=debian\n": "", "ID=rocky\nVERSION_CODENAME=x\n": "", "": "",
	} {
		if got := Codename([]byte(text)); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}

func TestMirrorsAreReadFromApt(t *testing.T) {
	m, s := pickMirrors("Debian|Debian|Packages|http://mirror.example/debian/\nDebian|Debian-Security|Packages|http://mirror.example/security/\nOther|Debian|Packages|http://x/\n")
	if m != "http://mirror.example/debian" || s != "http://mirror.example/security" {
		t.Errorf("%q %q", m, s)
	}
}

func FuzzParseIndex(f *testing.F) {
	f.Add("Package: a\nVersion: 1\nArchitecture: all\nFilename: ./a.deb\nSize: 3\nSHA256: ab\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parseIndex(text)
		if err != nil {
			return
		}
		for _, p := range list {
			if p.Name == "" || p.File == "" {
				t.Errorf("%+v", p)
			}
		}
	})
}

func FuzzParseSums(f *testing.F) {
	f.Add(strings.Repeat("ab", 32) + "  repository/a.deb\n")
	f.Fuzz(func(t *testing.T, text string) {
		sums, err := parseSums(text)
		if err != nil {
			return
		}
		for name := range sums {
			if !filepath.IsLocal(name) {
				t.Errorf("%q is taken", name)
			}
		}
	})
}
