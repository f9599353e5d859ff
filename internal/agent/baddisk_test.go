package agent

import (
	"testing"
	"time"
)

func TestNobodyLetsGoOfADiskUnlessTheOthersServeWithoutIt(t *testing.T) {
	now := time.Unix(1000, 0)
	const key = "disk of glusterfs"
	well, slow, silentNow := "well", "slow", "silent"
	for _, tt := range []struct {
		name   string
		others []string
		want   bool
	}{
		{"both others take writes", []string{well, well}, true},
		{"one other's disk is bad as well", []string{well, slow}, false},
		{"one other is not heard", []string{well, silentNow}, false},
		{"nobody is heard", []string{silentNow, silentNow}, false},
		{"three of four", []string{well, well, well}, true},
		{"two of four are no more than half", []string{well, well, silentNow}, false},
		{"of two heads the other is no more than half", []string{well}, false},
		{"no other has a brick", nil, false},
	} {
		heads, peers := []string{"self"}, map[string]heard{"witness": {at: now}}
		for i, is := range tt.others {
			name := string(rune('a' + i))
			heads = append(heads, name)
			p := heard{at: now}
			switch is {
			case slow:
				p.Verdict.Bad = map[string]string{key: silent}
			case silentNow:
				p.at = now.Add(-freshFor - time.Second)
			}
			p.Verdict.Bad = withMount(p.Verdict.Bad)
			peers[name] = p
		}
		if got := othersTakeWrites(heads, "self", key, peers, now); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// withMount adds what every head sees while a disk anywhere hangs.
func withMount(bad map[string]string) map[string]string {
	out := copyOf(bad)
	out["glusterfs"] = "the mounted volume does not answer in time"
	return out
}
