package hostlist

import (
	"slices"
	"strings"
	"testing"
)

func TestExpand(t *testing.T) {
	for name, tc := range map[string]struct{ in, want string }{
		"one name":                      {"server1", "server1"},
		"range":                         {"server[1-3]", "server1 server2 server3"},
		"range and single":              {"server[1-3,5]", "server1 server2 server3 server5"},
		"leading zeros":                 {"node[008-010]", "node008 node009 node010"},
		"growing width":                 {"n[9-11]", "n9 n10 n11"},
		"several lists":                 {"a[1-2],b, c[7]", "a1 a2 b c7"},
		"suffix":                        {"n[1-2].hpc", "n1.hpc n2.hpc"},
		"two brackets":                  {"r[1-2]n[1-2]", "r1n1 r1n2 r2n1 r2n2"},
		"repeated names stay once":      {"a[1-2],a2,a1", "a1 a2"},
		"spaces inside brackets":        {"a[1, 3-4]", "a1 a3 a4"},
		"zero":                          {"a[0-1]", "a0 a1"},
		"the order written is the kept": {"b,a", "b a"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Expand(tc.in)
			if err != nil || strings.Join(got, " ") != tc.want {
				t.Errorf("Expand(%q) = %q, %v; want %q", tc.in, got, err, tc.want)
			}
		})
	}
}

func TestExpandRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"":                        "no name between",
		"a,,b":                    "no name between",
		"a[1-3":                   "[ without ]",
		"a1-3]":                   "] without [",
		"a[[1]]":                  "[ inside [",
		"a[]":                     "neither a number nor a range",
		"a[3-1]":                  "ends before it starts",
		"a[001-10]":               "fewer digits",
		"a[x-y]":                  "neither a number nor a range",
		"a[-1]":                   "neither a number nor a range",
		"a[1-9999999999]":         "more than 65536 hosts",
		"a[1-300]b[1-300]":        "more than 65536 hosts",
		"a[1-60000],b[1-60000]":   "more than 65536 hosts",
		"a[1-60000,1-60000]":      "more than 65536 hosts",
		"node 1":                  "cannot be in a hostname",
		"node1;reboot":            "cannot be in a hostname",
		"a[18446744073709551615]": "neither a number nor a range",
	} {
		if got, err := Expand(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Expand(%q) = %d hosts, %v; want an error with %q", in, len(got), err, want)
		}
	}
}

func TestCompress(t *testing.T) {
	for in, want := range map[string]string{
		"":                            "",
		"server1":                     "server1",
		"server2 server1 server3":     "server[1-3]",
		"server1 server3":             "server[1,3]",
		"node009 node010 node008":     "node[008-010]",
		"node099 node100 node101":     "node[099-101]",
		"n9 n10 n11":                  "n[9-11]",
		"n8 n08 n9":                   "n[8,08,9]",
		"a1 a1 a2":                    "a[1-2]",
		"login b a1":                  "a1,b,login",
		"r1n1 r1n2 r2n1":              "r1n[1-2],r2n1",
		"n1.hpc n2.hpc":               "n[1-2].hpc",
		"x99999999999999999999999999": "x99999999999999999999999999",
	} {
		if got := Compress(strings.Fields(in)); got != want {
			t.Errorf("Compress(%q) = %q; want %q", in, got, want)
		}
	}
}

// FuzzExpand requires that what Expand reads, Compress writes so that Expand
// reads the same set.
func FuzzExpand(f *testing.F) {
	for _, s := range []string{"a[1-3,5],b", "r[1-2]n[01-03]", "x[8-11]", "a[", "n[8,08,9]", "a[0-0]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, list string) {
		hosts, err := Expand(list)
		if err != nil {
			return
		}
		again, err := Expand(Compress(hosts))
		if err != nil {
			t.Fatalf("%q: Compress wrote %q: %v", list, Compress(hosts), err)
		}
		slices.Sort(hosts)
		slices.Sort(again)
		if !slices.Equal(hosts, again) {
			t.Fatalf("%q: %q became %q", list, hosts, again)
		}
	})
}
