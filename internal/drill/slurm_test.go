package drill

import (
	"slices"
	"testing"

	"multihead/internal/drill/check"
)

func TestAJobThatOnlyAccountingWaitsForIsNotKnown(t *testing.T) {
	accounted := []check.Job{{ID: "1", State: "COMPLETED"}, {ID: "2", State: "PENDING"}, {ID: "3", State: "RUNNING"}, {ID: "4", State: "PENDING"}, {ID: "5", State: "CANCELLED"}, {ID: "6", Name: "forgotten", State: "PENDING"}}
	queued := []check.Job{{ID: "3", State: "COMPLETING"}, {ID: "4", State: "RUNNING"}, {ID: "6", Name: "another", State: "RUNNING"}}
	last := map[string]string{}
	for _, j := range known(accounted, queued) {
		last[j.ID] = j.State
	}
	if _, there := last["2"]; there {
		t.Error("slurmctld has forgotten job 2, and it counts as known")
	}
	for id, want := range map[string]string{"1": "COMPLETED", "3": "COMPLETING", "4": "RUNNING", "5": "CANCELLED"} {
		if last[id] != want {
			t.Errorf("job %s is %q, want %q", id, last[id], want)
		}
	}
}

func TestJobsOfTheRunAreRead(t *testing.T) {
	got := parseJobs("7|multihead-x-3|CANCELLED by 0|2026-11-23T01:02:03\n8|other|RUNNING|\nhalf a li\n", "multihead-x-")
	want := []check.Job{{ID: "7", Name: "multihead-x-3", State: "CANCELLED", Start: "2026-11-23T01:02:03"}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
