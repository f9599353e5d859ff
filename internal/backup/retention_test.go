package backup

import (
	"encoding/json"
	"os"
	"slices"
	"testing"
	"time"

	"multihead/internal/config"
)

// TestTheRetentionIsTheEnginesOwn compares a year of snapshots, with holes and
// with days that have two, with what `restic forget --dry-run --json` answered
// for the same times (testdata/restic-forget.json).
func TestTheRetentionIsTheEnginesOwn(t *testing.T) {
	data, err := os.ReadFile("testdata/restic-forget.json")
	if err != nil {
		t.Fatal(err)
	}
	var said struct {
		Times    []time.Time
		Policies []struct {
			Daily, Weekly, Monthly int
			Keep                   []time.Time
		}
	}
	if err := json.Unmarshal(data, &said); err != nil {
		t.Fatal(err)
	}
	if len(said.Times) < 365 || len(said.Policies) < 4 {
		t.Fatalf("%d snapshots, %d policies", len(said.Times), len(said.Policies))
	}
	zone, err := time.LoadLocation("Asia/Seoul") // where the year was simulated
	if err != nil {
		t.Fatal(err)
	}
	times := make([]time.Time, len(said.Times))
	for i, at := range said.Times {
		times[i] = at.In(zone)
	}
	for _, p := range said.Policies {
		r := config.BackupRetention{Daily: p.Daily, Weekly: p.Weekly, Monthly: p.Monthly}
		for i, keep := range Keep(times, r) {
			if want := slices.ContainsFunc(p.Keep, func(k time.Time) bool { return k.Equal(times[i]) }); keep != want {
				t.Errorf("%+v: %s: kept %v, restic %v", r, times[i], keep, want)
			}
		}
	}
}

// TestPruningEveryNightKeepsAYear plays a year night by night: what was forgotten
// once cannot be kept later, and the months and weeks are there all the same.
func TestPruningEveryNightKeepsAYear(t *testing.T) {
	r := config.BackupRetention{Daily: 7, Weekly: 4, Monthly: 12}
	var have []time.Time
	for day := range 366 {
		have = append(have, time.Date(2026, 1, 1, 2, 0, 0, 0, time.UTC).AddDate(0, 0, day))
		var left []time.Time
		for i, keep := range Keep(have, r) {
			if keep {
				left = append(left, have[i])
			}
		}
		have = left
	}
	months := map[time.Month]bool{}
	for _, at := range have {
		months[at.Month()] = true
	}
	if len(months) != 12 || len(have) < 18 || len(have) > 24 {
		t.Errorf("%d months, %d snapshots: %v", len(months), len(have), have)
	}
}

func TestTheNewestIsAlwaysKept(t *testing.T) {
	now := time.Date(2026, 1, 1, 2, 0, 0, 0, time.UTC)
	if keep := Keep([]time.Time{now.AddDate(0, 0, -1), now}, config.BackupRetention{}); !slices.Equal(keep, []bool{false, true}) {
		t.Error(keep)
	}
	if keep := Keep(nil, config.BackupRetention{Daily: 7}); len(keep) != 0 {
		t.Error(keep)
	}
}
