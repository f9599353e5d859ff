package galera

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// seen is gvwstate.dat of a node.
func seen(mine string, seq int, members ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "my_uuid: %s\n#vwbeg\nview_id: 3 %s %d\nbootstrap: 0\n", mine, members[0], seq)
	for _, m := range members {
		fmt.Fprintf(&b, "member: %s 0\n", m)
	}
	return b.String() + "#vwend\n"
}

// who is the identity of a node in a view, which it has for the nth time.
func who(node, nth int) string {
	return fmt.Sprintf("7ec0ccb%d-e630-11f1-8f%02x-ba2f51076af0", node, nth)
}

func TestParseView(t *testing.T) {
	whole := seen(who(1, 1), 7, who(1, 1), who(2, 1), who(3, 1))
	tests := []struct {
		name, text string
		members    int
		wrong      string
	}{
		{"as the daemon writes it", whole, 3, ""},
		{"a member is named twice", seen(who(1, 1), 7, who(1, 1), who(1, 1)), 1, ""},
		{"empty, as a power cut can leave it", "", 0, "my_uuid is missing"},
		{"zeros, as a power cut can leave it", "\x00\x00\x00", 0, "no key"},
		{"cut off in the middle", whole[:len(whole)/2], 0, "gvwstate.dat"},
		{"cut off before its end", strings.TrimSuffix(whole, "#vwend\n"), 0, "cut off"},
		{"no members", "my_uuid: " + who(1, 1) + "\n#vwbeg\nview_id: 3 " + who(1, 1) + " 7\n#vwend\n", 0, "cut off"},
		{"without quorum", strings.Replace(whole, "view_id: 3", "view_id: 2", 1), 0, "with quorum"},
		{"a member that is none", strings.Replace(whole, "member: 7ec", "member: xyz", 1), 0, "is none"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v, err := parseView([]byte(tt.text))
			if tt.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wrong) || v.known() {
					t.Fatalf("%+v, %v; want an error with %q", v, err, tt.wrong)
				}
				return
			}
			if err != nil || len(v.members) != tt.members || v.seq != 7 || v.mine != who(1, 1) {
				t.Errorf("%+v, %v", v, err)
			}
		})
	}
}

// A node that came back looks for the others under its old identity with the
// next count, while the file still has the one before.
func TestANodeThatCameBackIsTheMemberThatItWas(t *testing.T) {
	v, err := parseView([]byte(seen(who(1, 1), 7, who(1, 1), who(2, 1))))
	if err != nil {
		t.Fatal(err)
	}
	if !v.has(who(1, 9)) || v.has(who(3, 1)) {
		t.Errorf("%+v", v)
	}
}

func FuzzParseView(f *testing.F) {
	f.Add([]byte(seen(who(1, 1), 7, who(1, 1), who(2, 1))))
	f.Add([]byte("my_uuid:\n#vwbeg\n#vwend"))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := parseView(b)
		if err != nil && v.known() {
			t.Fatal("an error and a view")
		}
		if err == nil && (len(v.members) == 0 || slices.ContainsFunc(v.members, func(m string) bool { return !uuidForm.MatchString(m) })) {
			t.Fatalf("%+v", v)
		}
	})
}
