package all

import (
	"testing"

	"multihead/internal/config"
	"multihead/internal/service/servicetest"
)

func TestEveryServicePassesTheSuite(t *testing.T) {
	file, _, err := config.Load("testdata/cluster.yaml", config.WithEnv(func(string) (string, bool) { return servicetest.Canary, true }))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range Services() {
		t.Run(s.Name(), func(t *testing.T) { servicetest.Run(t, s, file) })
	}
}

func TestPhasesComeAfterPhasesThatExist(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range Services() {
		for _, a := range s.After() {
			if !seen[a] {
				t.Errorf("%s comes after %s, which is not before it in the list", s.Name(), a)
			}
		}
		if seen[s.Name()] {
			t.Errorf("%s is listed twice", s.Name())
		}
		seen[s.Name()] = true
	}
}
