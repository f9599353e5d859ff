package upgrade

import (
	"errors"
	"os"
	"os/exec"
	"testing"
)

// versions are in order: each comes before the next.
var versions = []string{
	"0~~", "0~", "0", "0+b1", "1.0~beta1~svc1", "1.0~beta1", "1.0", "1.0-1~bpo1", "1.0-1", "1.0-1+b1", "1.0-1+deb13u1", "1.0-1+deb13u2", "1.0-1.1",
	"1.0-2", "1.0-10", "1.0a", "1.0+x", "1.0.1", "1.9", "1.10", "22.05.8-4+deb12u3", "24.11.5-4", "1:11.8.3-0+deb13u1", "1:11.8.6-0+deb13u1", "5:7.0.15-1~deb12u5", "5:8.0.2-3",
}

func TestVersionsAreInDebiansOrder(t *testing.T) {
	sign := func(n int) int { return min(max(n, -1), 1) }
	for i, a := range versions {
		for j, b := range versions {
			if got, want := sign(compare(a, b)), sign(i-j); got != want {
				t.Errorf("compare(%s, %s) = %d, want %d", a, b, got, want)
			}
		}
	}
	for _, same := range [][2]string{{"1.0", "0:1.0"}, {"1.0", "1.0-0"}, {"1.01", "1.1"}} {
		if compare(same[0], same[1]) != 0 {
			t.Errorf("%s and %s differ", same[0], same[1])
		}
	}
}

// dpkg itself is asked where there is one: the rule is its.
func TestVersionsAreInDpkgsOrder(t *testing.T) {
	if _, err := exec.LookPath("dpkg"); err != nil {
		if os.Getenv("MULTIHEAD_SKIP_NOTHING") != "" {
			t.Fatal(err)
		}
		t.Skip("no dpkg here: this is no Debian")
	}
	for i := 1; i < len(versions); i++ {
		if err := exec.CommandContext(t.Context(), "dpkg", "--compare-versions", versions[i-1], "lt", versions[i]).Run(); err != nil {
			t.Errorf("dpkg says that %s does not come before %s: %v", versions[i-1], versions[i], errors.Unwrap(err))
		}
	}
}

func FuzzVersionsHaveAnOrder(f *testing.F) {
	for i, v := range versions {
		f.Add(v, versions[(i*7+3)%len(versions)])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		x, y := compare(a, b), compare(b, a)
		if x < 0 != (y > 0) || x == 0 != (y == 0) {
			t.Errorf("compare(%q, %q) = %d, and the other way %d", a, b, x, y)
		}
		if compare(a, a) != 0 {
			t.Errorf("%q is not itself", a)
		}
	})
}

func TestASeriesIsWhatDataGoesBackWithin(t *testing.T) {
	for _, tt := range []struct {
		source, from, to string
		same             bool
	}{
		{"mariadb", "1:11.8.3-0+deb13u1", "1:11.8.6-0+deb13u1", true},
		{"mariadb", "1:10.11.6-0+deb12u1", "1:11.8.3-0+deb13u1", false},
		{"mariadb-10.5", "1:10.5.1-1", "1:10.6.1-1", false},
		{"slurm-wlm", "24.11.5-4", "24.11.5-4+deb13u1", true},
		{"slurm-wlm", "22.05.8-4", "24.11.5-4", false},
		{"glusterfs", "11.1-6", "11.2-1", true},
		{"glusterfs", "10.3-5", "11.1-6", false},
		{"redis", "5:8.0.2-3", "5:8.2.1-1", true},
		{"redis", "5:7.0.15-1", "5:8.0.2-3", false},
		{"keepalived", "1:2.2.7-1", "1:3.0.0-1", true}, // keeps nothing
	} {
		if got := series(tt.source, tt.from) == series(tt.source, tt.to); got != tt.same {
			t.Errorf("%s %s → %s: one series is %v", tt.source, tt.from, tt.to, got)
		}
	}
}
