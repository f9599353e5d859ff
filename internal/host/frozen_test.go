package host

import "testing"

func TestAProcessThatASignalStopped(t *testing.T) {
	for stat, want := range map[string]bool{
		"1896 (slurmctld) S 1 1896 1896 0 -1 4194560": false,
		"1896 (slurmctld) T 1 1896 1896 0 -1 4194560": true,
		"1896 (slurmctld) t 1 1896 1896 0 -1 4194560": false, // a debugger
		"1964 (slurmscriptd) T 1896 1896 1896 0 -1 4": false,
		"1896 (slurmctld) T":                          true,
		"1896 (a) slurmctld) T 1":                     false,
		"":                                            false,
		"1896 (slurmctld)":                            false,
	} {
		if got := stoppedBySignal(stat, "slurmctld"); got != want {
			t.Errorf("%q: %v", stat, got)
		}
	}
}

func TestInstancesOfATemplateHaveASliceOfTheirOwn(t *testing.T) {
	for unit, want := range map[string]string{
		"slurmctld.service":         "",
		"redis-server@6379.service": `system-redis\x2dserver.slice/`,
	} {
		if got := subSlice(unit); got != want {
			t.Errorf("%s: %s", unit, got)
		}
	}
}
