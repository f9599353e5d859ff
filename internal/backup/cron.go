package backup

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Schedule is five fields of cron: minute, hour, day of the month, month, day of
// the week.
type Schedule struct {
	minute, hour, day, month, weekday []int // the values that match, in order
	anyDay, anyWeekday                bool  // the field begins with *
}

var cronNames = map[string]string{
	"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
	"@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *",
}

// ParseCron reads a schedule as crontab(5) has it.
func ParseCron(s string) (Schedule, error) {
	line := strings.TrimSpace(s)
	if full, ok := cronNames[line]; ok {
		line = full
	}
	f := strings.Fields(line)
	if len(f) != 5 {
		return Schedule{}, fmt.Errorf("%q: a schedule has five fields: minute, hour, day of the month, month, day of the week", s)
	}
	var out Schedule
	for i, p := range []struct {
		to       *[]int
		min, max int
		names    []string
	}{
		{&out.minute, 0, 59, nil}, {&out.hour, 0, 23, nil}, {&out.day, 1, 31, nil},
		{&out.month, 1, 12, []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}},
		{&out.weekday, 0, 7, []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}},
	} {
		list, err := cronField(f[i], p.min, p.max, p.names)
		if err != nil {
			return Schedule{}, fmt.Errorf("%q: field %d: %w", s, i+1, err)
		}
		*p.to = list
	}
	if slices.Contains(out.weekday, 7) { // Sunday has two numbers
		out.weekday = slices.DeleteFunc(out.weekday, func(d int) bool { return d == 7 })
		if !slices.Contains(out.weekday, 0) {
			out.weekday = append([]int{0}, out.weekday...)
		}
	}
	out.anyDay, out.anyWeekday = strings.HasPrefix(f[2], "*"), strings.HasPrefix(f[4], "*")
	return out, nil
}

// cronField reads a list of values, ranges and steps.
func cronField(s string, lowest, highest int, names []string) ([]int, error) {
	value := func(w string) (int, error) {
		for i, n := range names {
			if strings.EqualFold(w, n) {
				return i + lowest, nil
			}
		}
		n, err := strconv.Atoi(w)
		if err != nil || n < lowest || n > highest || w[0] == '+' {
			return 0, fmt.Errorf("%q is not from %d to %d", w, lowest, highest)
		}
		return n, nil
	}
	have := map[int]bool{}
	for _, part := range strings.Split(s, ",") {
		span, stepText, stepped := strings.Cut(part, "/")
		step := 1
		if stepped {
			n, err := strconv.Atoi(stepText)
			if err != nil || n < 1 {
				return nil, fmt.Errorf("%q is no step", part)
			}
			step = n
		}
		from, to := lowest, highest
		if lowest == 0 && highest == 7 && span == "*" {
			to = 6
		}
		if span != "*" {
			a, b, ranged := strings.Cut(span, "-")
			var err error
			if from, err = value(a); err != nil {
				return nil, err
			}
			switch {
			case ranged:
				if to, err = value(b); err != nil {
					return nil, err
				}
			case !stepped:
				to = from
			}
			if to < from {
				return nil, fmt.Errorf("%q ends before it begins", part)
			}
		}
		for v := from; v <= to; v += step {
			have[v] = true
		}
	}
	var out []int
	for v := range have {
		out = append(out, v)
	}
	slices.Sort(out)
	return out, nil
}

// Matches says whether the schedule names that minute. Where both days are
// given, either of them is enough, as cron has it.
func (s Schedule) Matches(t time.Time) bool {
	if !slices.Contains(s.minute, t.Minute()) || !slices.Contains(s.hour, t.Hour()) || !slices.Contains(s.month, int(t.Month())) {
		return false
	}
	day, weekday := slices.Contains(s.day, t.Day()), slices.Contains(s.weekday, int(t.Weekday()))
	if s.anyDay || s.anyWeekday {
		return day && weekday
	}
	return day || weekday
}

// Last is the last minute that the schedule names, not after t; zero where the
// year before it has none.
func (s Schedule) Last(t time.Time) time.Time {
	m := t.Truncate(time.Minute)
	for i := 0; i < 366*24*60; i++ {
		if s.Matches(m) {
			return m
		}
		m = m.Add(-time.Minute)
	}
	return time.Time{}
}

// Calendar is the schedule as systemd.time(7) has it: two lines where cron takes
// either day.
func (s Schedule) Calendar() []string {
	list := func(values []int, lowest, highest int) string {
		if len(values) == highest-lowest+1 {
			return "*"
		}
		var out []string
		for _, v := range values {
			out = append(out, fmt.Sprintf("%02d", v))
		}
		return strings.Join(out, ",")
	}
	days := func(values []int) string {
		if len(values) == 7 {
			return ""
		}
		var out []string
		for _, v := range values {
			out = append(out, [...]string{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"}[v])
		}
		return strings.Join(out, ",") + " "
	}
	clock := " " + list(s.hour, 0, 23) + ":" + list(s.minute, 0, 59) + ":00"
	month := list(s.month, 1, 12)
	if s.anyDay || s.anyWeekday {
		return []string{days(s.weekday) + "*-" + month + "-" + list(s.day, 1, 31) + clock}
	}
	return []string{"*-" + month + "-" + list(s.day, 1, 31) + clock, days(s.weekday) + "*-" + month + "-*" + clock}
}
