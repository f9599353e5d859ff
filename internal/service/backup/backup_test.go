package backup

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"multihead/internal/backup"
	"multihead/internal/config"
	"multihead/internal/service"
)

func seats(edit func(s []seat)) *State {
	st := &State{root: "/data/system_backup", off: "/mnt/nas/hpc", now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), drawn: []byte("new")}
	var err error
	if st.timers, err = timers(config.Backup{Schedule: config.BackupSchedule{FullBackup: "0 2 * * 0", Incremental: "0 2 * * 1-6"}}); err != nil {
		panic(err)
	}
	for _, n := range []string{"s1", "s2", "s3"} {
		st.seats = append(st.seats, seat{name: n, reached: true, key: []byte("key"), data: service.Yes,
			timers: map[string]string{"multihead-backup-full": "active", "multihead-backup-incremental": "active"}})
	}
	edit(st.seats)
	return st
}

func TestThePasswordThatExistsIsKept(t *testing.T) {
	for name, tt := range map[string]struct {
		edit   func(s []seat)
		key    string
		reason string // of a refusal
	}{
		"all have it":                   {func([]seat) {}, "key", ""},
		"a new head has none":           {func(s []seat) { s[2].key, s[2].data = nil, service.No }, "key", ""},
		"the first has none":            {func(s []seat) { s[0].key = nil }, "key", ""},
		"a silent head does not matter": {func(s []seat) { s[0] = seat{name: "s1", why: "off"} }, "key", ""},
		"nobody has one, nor a repository": {func(s []seat) {
			for i := range s {
				s[i].key, s[i].data = nil, service.No
			}
		}, "new", ""},
		"nobody has one, and a head is silent": {func(s []seat) {
			for i := range s {
				s[i].key, s[i].data = nil, service.No
			}
			s[1] = seat{name: "s2", why: "timed out"}
		}, "", "s2 (timed out)"},
		"a repository whose password is gone": {func(s []seat) {
			for i := range s {
				s[i].key = nil
			}
		}, "", "no head has its password"},
		"two passwords": {func(s []seat) { s[1].key = []byte("another") }, "", "different passwords"},
	} {
		t.Run(name, func(t *testing.T) {
			key, _, err := seats(tt.edit).key()
			var r *service.Refusal
			switch {
			case tt.reason == "" && (err != nil || string(key) != tt.key):
				t.Errorf("%q, %v", key, err)
			case tt.reason != "" && (!errors.As(err, &r) || !strings.Contains(r.Reason, tt.reason)):
				t.Errorf("%q, %v", key, err)
			}
		})
	}
}

func at(id string, bad string) backup.Stored {
	when, err := time.Parse(backup.IDFormat, id)
	if err != nil {
		panic(err)
	}
	return backup.Stored{Metadata: backup.Metadata{Version: 1, ID: id, Time: when, Staging: "/s", Heads: []string{"s1", "s2", "s3"}}, Verified: &when, Bad: bad}
}

// everywhere puts snapshots on all heads.
func everywhere(s []seat, st ...backup.Stored) {
	for i := range s {
		s[i].held.Stored = slices.Clone(st)
	}
}

func TestHealthSaysWhatANightWouldLack(t *testing.T) {
	for name, tt := range map[string]struct {
		edit   func(s []seat)
		state  service.Word
		reason string
	}{
		"no snapshot yet":    {func([]seat) {}, service.Up, ""},
		"made last night":    {func(s []seat) { everywhere(s, at("20261122_020000", "")) }, service.Up, ""},
		"one night was lost": {func(s []seat) { everywhere(s, at("20261121_020000", "")) }, service.Up, ""},
		"one copy is missing": {func(s []seat) {
			everywhere(s, at("20261121_020000", ""), at("20261122_020000", ""))
			s[1].held.Stored = s[1].held.Stored[:1]
		}, service.Up, ""},
		"copies are missing again": {func(s []seat) {
			everywhere(s, at("20261120_020000", ""), at("20261121_020000", ""), at("20261122_020000", ""))
			s[1].held.Stored = s[1].held.Stored[:1]
		}, service.Degraded, "s2 has no copy of the last two snapshots (20261121_020000, 20261122_020000)"},
		"one has just joined": {func(s []seat) {
			st := []backup.Stored{at("20261121_020000", ""), at("20261122_020000", "")}
			st[0].Heads, st[1].Heads = []string{"s1", "s2"}, []string{"s1", "s2"}
			everywhere(s, st...)
			s[2].held.Stored = nil
		}, service.Up, ""},
		"who is off lacks them": {func(s []seat) {
			everywhere(s, at("20261121_020000", ""), at("20261122_020000", ""))
			s[2] = seat{name: "s3", why: "off"}
		}, service.Up, ""},
		"two nights":        {func(s []seat) { s[0].held.Stored = []backup.Stored{at("20261120_020000", "")} }, service.Degraded, "2026-11-20"},
		"a copy is damaged": {func(s []seat) { s[1].held.Stored = []backup.Stored{at("20261122_020000", "x is missing")} }, service.Degraded, "x is missing"},
		"not off-site": {func(s []seat) {
			s[0].held.Stored = []backup.Stored{at("20261122_020000", "")}
			s[0].held.Stored[0].Offsite = &backup.Offsite{Error: "not mounted"}
		}, service.Degraded, "not mounted"},
		"off-site by another head": {func(s []seat) {
			everywhere(s, at("20261122_020000", ""))
			s[0].held.Stored[0].Offsite, s[1].held.Stored[0].Offsite = &backup.Offsite{Error: "not mounted"}, &backup.Offsite{}
		}, service.Up, ""},
		"a timer is off":    {func(s []seat) { s[2].timers["multihead-backup-full"] = "inactive" }, service.Degraded, "multihead-backup-full.timer is inactive"},
		"a head has no key": {func(s []seat) { s[2].key = nil }, service.Degraded, "password"},
		"a head is off":     {func(s []seat) { s[2] = seat{name: "s3", why: "off"} }, service.Up, ""},
		"nobody answers": {func(s []seat) {
			for i := range s {
				s[i] = seat{name: s[i].name, why: "off"}
			}
		}, service.Unknown, "no host answered"},
	} {
		t.Run(name, func(t *testing.T) {
			h := seats(tt.edit).Health()
			if h.State != tt.state || !strings.Contains(h.Reason, tt.reason) || (h.State == service.Up) != (h.Reason == "") {
				t.Errorf("%s: %q", h.State, h.Reason)
			}
		})
	}
}

func TestATimerThatIsNoLongerAskedForGoes(t *testing.T) {
	st := seats(func([]seat) {})
	st.timers[1].cron = ""
	ph, err := st.Plan(service.Intent{Mode: service.Auto})
	if err != nil {
		t.Fatal(err)
	}
	stopped := 0
	for _, stage := range ph.Stages {
		for _, s := range stage.Steps {
			if s.Action.String() == "stop multihead-backup-incremental.timer" {
				stopped++
			}
		}
	}
	if stopped != 3 {
		t.Errorf("stopped on %d heads", stopped)
	}
}
