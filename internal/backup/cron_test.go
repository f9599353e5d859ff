package backup

import (
	"slices"
	"testing"
	"time"
)

func TestCronLinesBecomeWhatSystemdUnderstands(t *testing.T) {
	for cron, want := range map[string][]string{
		"0 2 * * *":       {"*-*-* 02:00:00"},
		"0 2 * * 0":       {"Sun *-*-* 02:00:00"},
		"0 2 * * 7":       {"Sun *-*-* 02:00:00"},
		"30 3 * * 1-5":    {"Mon,Tue,Wed,Thu,Fri *-*-* 03:30:00"},
		"*/15 * * * *":    {"*-*-* *:00,15,30,45:00"},
		"0 0 1 * *":       {"*-*-01 00:00:00"},
		"5 4 1,15 jan *":  {"*-01-01,15 04:05:00"},
		"0 12 13 * fri":   {"*-*-13 12:00:00", "Fri *-*-* 12:00:00"}, // either day is enough
		"0 12 */2 * fri":  {"Fri *-*-01,03,05,07,09,11,13,15,17,19,21,23,25,27,29,31 12:00:00"},
		"@weekly":         {"Sun *-*-* 00:00:00"},
		"0 8-10/2 * * *":  {"*-*-* 08,10:00:00"},
		"10/20 * * * sat": {"Sat *-*-* *:10,30,50:00"},
	} {
		s, err := ParseCron(cron)
		if err != nil {
			t.Errorf("%s: %v", cron, err)
			continue
		}
		if got := s.Calendar(); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", cron, got, want)
		}
	}
}

func TestWhatIsNoScheduleIsRefused(t *testing.T) {
	for _, cron := range []string{"", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "5-1 * * * *", "*/0 * * * *", "a * * * *", "+5 * * * *", "1,, * * * *", "@never"} {
		if _, err := ParseCron(cron); err == nil {
			t.Errorf("%q is taken for a schedule", cron)
		}
	}
}

func TestTheLastTurnOfASchedule(t *testing.T) {
	at := time.Date(2026, 11, 22, 8, 30, 15, 0, time.UTC) // a Sunday
	for cron, want := range map[string]string{
		"0 2 * * *":  "2026-11-22 02:00",
		"30 8 * * *": "2026-11-22 08:30",
		"31 8 * * *": "2026-11-21 08:31",
		"0 2 * * 1":  "2026-11-16 02:00",
		"0 0 1 * *":  "2026-11-01 00:00",
		"0 0 13 * 5": "2026-11-20 00:00",
		"0 0 29 2 *": "0001-01-01 00:00", // not within a year
		"0 3 1 1 *":  "2026-01-01 03:00",
	} {
		s, err := ParseCron(cron)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Last(at).Format("2006-01-02 15:04"); got != want {
			t.Errorf("%s: %s, want %s", cron, got, want)
		}
	}
}

func FuzzParseCron(f *testing.F) {
	f.Add("0 2 * * 0")
	f.Add("*/5 1-3,7 1/2 jan-mar 5-7")
	f.Fuzz(func(t *testing.T, line string) {
		s, err := ParseCron(line)
		if err != nil {
			return
		}
		if len(s.minute) == 0 || len(s.hour) == 0 || len(s.day) == 0 || len(s.month) == 0 || len(s.weekday) == 0 {
			t.Errorf("%q: a field matches nothing: %+v", line, s)
		}
		if len(s.Calendar()) == 0 {
			t.Errorf("%q: no calendar", line)
		}
	})
}
