package base

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

var twoHeads = []entry{
	{addr("192.0.2.11"), []string{"server1", "server1.hpc.example"}},
	{addr("192.0.2.12"), []string{"server2", "server2.hpc.example"}},
}

const twoHeadsBlock = `# BEGIN multihead
# Managed by multihead; changes between these markers are overwritten.
192.0.2.11	server1 server1.hpc.example
192.0.2.12	server2 server2.hpc.example
# END multihead
`

func TestMergeHosts(t *testing.T) {
	for _, c := range []struct {
		name, old, want string
		changed         int
	}{
		{"an empty file", "", twoHeadsBlock, 0},
		{"foreign lines are kept in their place", "127.0.0.1 localhost\n10.0.0.5 nas # old\n", "127.0.0.1 localhost\n10.0.0.5 nas # old\n" + twoHeadsBlock, 0},
		{"a missing newline at the end is added", "127.0.0.1 localhost", "127.0.0.1 localhost\n" + twoHeadsBlock, 0},
		{"an old block is replaced where it stands", "a\n# BEGIN multihead\n192.0.2.99\tgone\n# END multihead\nb\n", "a\n" + twoHeadsBlock + "b\n", 0},
		{"the right block is not touched", "x\n" + twoHeadsBlock, "x\n" + twoHeadsBlock, 0},
		{"Debian's loopback line for the own name goes", "127.0.0.1 localhost\n127.0.1.1 server1.hpc.example server1\n",
			"127.0.0.1 localhost\n# multihead: was: 127.0.1.1 server1.hpc.example server1\n" + twoHeadsBlock, 1},
		{"other names on that line stay", "127.0.1.1 server1 portal # web\n",
			"# multihead: was: 127.0.1.1 server1 portal # web\n127.0.1.1\tportal # web\n" + twoHeadsBlock, 1},
		{"an old address of a head goes, wherever it stands", twoHeadsBlock + "10.0.0.2 server2\n",
			twoHeadsBlock + "# multihead: was: 10.0.0.2 server2\n", 1},
		{"the same address twice is no contradiction", "192.0.2.11 server1\n", "192.0.2.11 server1\n" + twoHeadsBlock, 0},
		{"another address family is no contradiction", "2001:db8::11 server1\n", "2001:db8::11 server1\n" + twoHeadsBlock, 0},
		{"the IPv6 loopback is", "::1 server1 ip6-localhost\n", "# multihead: was: ::1 server1 ip6-localhost\n::1\tip6-localhost\n" + twoHeadsBlock, 1},
		{"names are compared without case", "127.0.1.1 SERVER1\n", "# multihead: was: 127.0.1.1 SERVER1\n" + twoHeadsBlock, 1},
		{"what is commented out is nobody's", "#127.0.1.1 server1\n", "#127.0.1.1 server1\n" + twoHeadsBlock, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, changed, err := mergeHosts([]byte(c.old), twoHeads)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != c.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, c.want)
			}
			if len(changed) != c.changed {
				t.Errorf("changed %v, want %d", changed, c.changed)
			}
			again, changed, err := mergeHosts(got, twoHeads)
			if err != nil || !bytes.Equal(again, got) || len(changed) > 0 {
				t.Errorf("a second time: %v %v\n%s", err, changed, again)
			}
		})
	}
}

func TestBrokenMarkersAreRefused(t *testing.T) {
	for _, old := range []string{
		"# BEGIN multihead\n1.2.3.4 x\n",
		"# END multihead\n",
		"# END multihead\n# BEGIN multihead\n",
		"# BEGIN multihead\n# BEGIN multihead\n# END multihead\n",
		"# BEGIN multihead\n# END multihead\n# END multihead\n",
	} {
		if _, _, err := mergeHosts([]byte(old), twoHeads); !errors.Is(err, errMarkers) {
			t.Errorf("%q: %v", old, err)
		}
	}
}

func FuzzMergeHosts(f *testing.F) {
	f.Add("127.0.0.1 localhost\n127.0.1.1 server1 other\n")
	f.Add(twoHeadsBlock + "x")
	f.Add("# BEGIN multihead\n# END multihead")
	f.Fuzz(func(t *testing.T, old string) {
		got, _, err := mergeHosts([]byte(old), twoHeads)
		if err != nil {
			return
		}
		if !strings.Contains(string(got), twoHeadsBlock) {
			t.Fatalf("no block in\n%s", got)
		}
		again, changed, err := mergeHosts(got, twoHeads)
		if err != nil || !bytes.Equal(again, got) || len(changed) > 0 {
			t.Fatalf("not stable: %v %v\n%q\n%q", err, changed, got, again)
		}
		// Every foreign line that has none of our names is still there, in order.
		before, after, _, _ := splitBlock([]byte(old))
		at := 0
		lines := strings.SplitAfter(string(got), "\n")
		for line := range strings.Lines(string(before) + "\n" + string(after)) {
			if strings.Contains(strings.ToLower(line), "server") || strings.TrimSpace(line) == "" {
				continue
			}
			i := slices.IndexFunc(lines[at:], func(l string) bool {
				return strings.TrimRight(l, "\n") == strings.TrimRight(line, "\n")
			})
			if i < 0 {
				t.Fatalf("lost %q of %q in\n%q", line, old, got)
			}
			at += i + 1
		}
	})
}
