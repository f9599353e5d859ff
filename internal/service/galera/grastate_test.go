package galera

import (
	"strings"
	"testing"
)

const someUUID = "9af3eb9c-e5f9-11f1-bd3e-327f7ecc9e1e"

func TestParseSaved(t *testing.T) {
	file := func(uuid, seqno, safe string) string {
		return "# GALERA saved state\nversion: 2.1\nuuid:    " + uuid + "\nseqno:   " + seqno + "\nsafe_to_bootstrap: " + safe + "\n"
	}
	tests := []struct {
		name, in string
		want     saved
		wrong    string
	}{
		{"stopped last", file(someUUID, "42", "1"), saved{someUUID, 42, true}, ""},
		{"stopped before others", file(someUUID, "41", "0"), saved{someUUID, 41, false}, ""},
		{"running or crashed", file(someUUID, "-1", "0"), saved{someUUID, -1, false}, ""},
		{"never was part of a cluster", file(noUUID, "-1", "1"), saved{"", -1, true}, ""},
		{"upper case", file(strings.ToUpper(someUUID), "1", "0"), saved{someUUID, 1, false}, ""},
		{"older form without the flag", "uuid: " + someUUID + "\nseqno: 7\n", saved{someUUID, 7, false}, ""},
		{"empty after a power loss", "", saved{}, "missing"},
		{"zeros after a power loss", strings.Repeat("\x00", 64), saved{}, "no key"},
		{"cut off", "# GALERA saved state\nversion: 2.1\nuuid:    9af3eb9c-e5f9", saved{}, "uuid"},
		{"no seqno", "uuid: " + someUUID + "\n", saved{}, "missing"},
		{"seqno is no number", file(someUUID, "abc", "0"), saved{}, "seqno"},
		{"seqno below all", file(someUUID, "-7", "0"), saved{}, "seqno"},
		{"flag is no number", file(someUUID, "7", "yes"), saved{}, "safe_to_bootstrap"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseSaved([]byte(tt.in))
			if (err == nil) != (tt.wrong == "") || err != nil && !strings.Contains(err.Error(), tt.wrong) {
				t.Fatalf("error %v, want one with %q", err, tt.wrong)
			}
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestMarkSafeChangesTheFlagAndNothingElse(t *testing.T) {
	in := "# GALERA saved state\nversion: 2.1\nuuid:    " + someUUID + "\nseqno:   5\nsafe_to_bootstrap: 0\n"
	got := string(markSafe([]byte(in)))
	if want := strings.Replace(in, "bootstrap: 0", "bootstrap: 1", 1); got != want {
		t.Errorf("got %q", got)
	}
	if again := string(markSafe([]byte(got))); again != got {
		t.Errorf("twice gives %q", again)
	}
	if s, err := parseSaved(markSafe([]byte("uuid: " + someUUID + "\nseqno: 5"))); err != nil || !s.safe || s.seqno != 5 {
		t.Errorf("without a flag: %+v, %v", s, err)
	}
}

func FuzzParseSaved(f *testing.F) {
	f.Add([]byte("# GALERA saved state\nversion: 2.1\nuuid:    " + someUUID + "\nseqno:   5\nsafe_to_bootstrap: 0\n"))
	f.Add([]byte("uuid: " + noUUID + "\nseqno: -1"))
	f.Add([]byte("seqno:\x00\nuuid"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseSaved(b)
		if err != nil {
			return
		}
		if s.seqno < -1 || s.uuid != "" && !uuidForm.MatchString(s.uuid) || s.uuid == noUUID {
			t.Fatalf("%q gave %+v", b, s)
		}
		marked, err := parseSaved(markSafe(b))
		if err != nil || marked.uuid != s.uuid || marked.seqno != s.seqno {
			t.Fatalf("marking %q changed it: %+v, %v", b, marked, err)
		}
	})
}
