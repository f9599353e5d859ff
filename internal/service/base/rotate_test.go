package base

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"multihead/internal/plan"
)

// What a rotation of the munge key does, for everything that hosts can show: in the
// end all have one key, and no host changes over before all have it beside the old.
func TestMungeRotation(t *testing.T) {
	keyOf := func(b byte) []byte { return bytes.Repeat([]byte{b}, 128) }
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	holder := func(name string, current byte, next ...byte) KeyHolder {
		h := KeyHolder{Name: name, Head: strings.HasPrefix(name, "h"), Current: keyOf(current), Since: now.Add(-48 * time.Hour), mode: 0o400}
		if len(next) > 0 {
			h.Next = keyOf(next[0])
		}
		return h
	}
	kept := func(h KeyHolder, old byte) KeyHolder { h.Kept = append(h.Kept, keyOf(old)); return h }
	young := func(h KeyHolder) KeyHolder { h.Since = now.Add(-time.Minute); return h }
	silent := func(name string) KeyHolder {
		return KeyHolder{Name: name, Head: strings.HasPrefix(name, "h"), Why: "timed out"}
	}
	for _, c := range []struct {
		name    string
		hosts   []KeyHolder
		without []string
		key     byte   // that all are to have; 0 is nothing to do
		changes string // hosts whose key is replaced
		refused string
	}{
		{"a key that is due", []KeyHolder{holder("h1", 1), holder("h2", 1), holder("n1", 1)}, nil, 9, "h1 h2 n1", ""},
		{"a key that is young", []KeyHolder{young(holder("h1", 1)), holder("n1", 1)}, nil, 0, "", ""},
		{"cut off while it was laid down: it goes on with that key", []KeyHolder{holder("h1", 1, 5), holder("h2", 1), holder("n1", 1)}, nil, 5, "h1 h2 n1", ""},
		{"cut off in the change", []KeyHolder{young(holder("h1", 5, 5)), holder("h2", 1, 5), holder("n1", 5, 5)}, nil, 5, "h2", ""},
		{"cut off while it was cleaned up", []KeyHolder{young(holder("h1", 5)), holder("h2", 5, 5)}, nil, 5, "", ""},
		{"two that were cut off: the one that a host has changed to", []KeyHolder{holder("h1", 1, 4), holder("h2", 5, 5)}, nil, 5, "h1", ""},
		{"a node that missed the last one", []KeyHolder{kept(young(holder("h1", 5)), 1), holder("n1", 1)}, nil, 5, "n1", ""},
		{"a node with a key of its own", []KeyHolder{kept(holder("h1", 5), 1), holder("n1", 7)}, nil, 0, "", "no rotation explains it"},
		{"a head with another key", []KeyHolder{kept(holder("h1", 5), 1), holder("h2", 1)}, nil, 0, "", "h1 and h2 differ"},
		{"a head that is silent", []KeyHolder{holder("h1", 1), silent("h2")}, []string{"h2"}, 0, "", "h2 is a head"},
		{"a node that is silent", []KeyHolder{holder("h1", 1), silent("n1")}, nil, 0, "", "--without n1"},
		{"a node that is silent and left out", []KeyHolder{holder("h1", 1), silent("n1")}, []string{"n1"}, 9, "h1", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := MungeKeys{Hosts: c.hosts, Stamp: "STAMP", At: now, user: "munge"}
			r := &KeyRotation{Fresh: keyOf(9), OlderThan: time.Hour, Without: c.without}
			ph, err := k.Plan(r)
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Fatalf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.key == 0 {
				if !(plan.Plan{Phases: []plan.Phase{ph}}).Empty() {
					t.Errorf("%+v", ph)
				}
				return
			}
			laid := []string{}
			for i, st := range ph.Stages {
				for _, s := range st.Steps {
					f, ok := s.Action.(plan.File)
					if !ok {
						continue
					}
					if !f.Secret {
						t.Errorf("%s shows what it writes", s.ID)
					}
					switch {
					case f.Path == nextKey && i == 0 && bytes.Equal(f.Data, keyOf(c.key)):
						laid = append(laid, s.Host)
					case f.Path == mungeKey && i == 1 && bytes.Equal(f.Data, keyOf(c.key)):
					case f.Path == keptKeys+"STAMP" && i == 0 && !bytes.Equal(f.Data, keyOf(c.key)):
					default:
						t.Errorf("stage %d writes %s with another key", i, f.Path)
					}
				}
			}
			if got := strings.Join(laid, " "); got != c.changes {
				t.Errorf("%q change, not %q", got, c.changes)
			}
			// What it leaves is nothing to do for the same run.
			for i := range k.Hosts {
				if k.Hosts[i].Why == "" {
					k.Hosts[i].Current, k.Hosts[i].Next, k.Hosts[i].Since = keyOf(c.key), nil, now
				}
			}
			r.OlderThan = -time.Second
			if ph, err := k.Plan(r); err != nil || len(ph.Stages) > 0 {
				t.Errorf("afterwards: %+v %v", ph, err)
			}
		})
	}
}
