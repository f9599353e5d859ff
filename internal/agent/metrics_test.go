package agent

import (
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"
)

// watched is an agent that has seen and done a few things.
func watched(t *testing.T) *Agent {
	t.Helper()
	a, err := New(Options{Name: "a", Version: `1.0 "x\y`, Cluster: clusterOf(3, 1), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	a.looked("mariadb", 250*time.Millisecond)
	a.looked("mariadb", 250*time.Millisecond)
	a.looked("redis", time.Millisecond)
	a.found("redis", "gone")
	a.peers["b"] = heard{Beat{Name: "b"}, time.Now().Add(-time.Second)}
	a.peers["c"] = heard{Beat{Name: "c"}, time.Now().Add(-time.Minute)}
	a.event("kill", "a", "mariadb", "killed mariadb.service", "it hung")
	a.alarm("recover mariadb", "two\nlines \"quoted\"")
	a.holding(true)
	a.holding(true)
	a.holding(false)
	return a
}

func TestPrometheusIsToldWhatTheAgentKnows(t *testing.T) {
	got := string(exposition(watched(t).metrics(time.Now())))
	for _, want := range []string{
		"multihead_fit 1\n", "multihead_holds_vip 0\n",
		`multihead_vip_moves_total{direction="gained"} 1`, `multihead_vip_moves_total{direction="lost"} 1`,
		`multihead_service_up{service="mariadb"} 1`, `multihead_service_up{service="redis"} 0`,
		`multihead_looks_total{service="mariadb"} 2`, `multihead_look_seconds_total{service="mariadb"} 0.5`,
		`multihead_peer_heard{peer="b"} 1`, `multihead_peer_heard{peer="c"} 0`, `multihead_peer_heard{peer="w"} 0`,
		`multihead_events_total{kind="kill",service="mariadb"} 1`, `multihead_events_total{kind="recovery",service="mariadb"} 0`,
		`multihead_events_total{kind="alarm",service="recover mariadb"} 1`,
		`multihead_alarm{about="recover mariadb"} 1`, `version="1.0 \"x\\y"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is not in\n%s", want, got)
		}
	}
	if strings.Contains(got, `beat_age_seconds{peer="w"}`) {
		t.Error("an age of a beat that never came")
	}
}

// The text format of Prometheus, version 0.0.4: every metric is announced once,
// its samples follow at once, and no two are the same.
func TestMetricsAreInPrometheusFormat(t *testing.T) {
	const name, label = `[a-zA-Z_:][a-zA-Z0-9_:]*`, `[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*"`
	help := regexp.MustCompile(`^# HELP (` + name + `) .+$`)
	kind := regexp.MustCompile(`^# TYPE (` + name + `) (gauge|counter)$`)
	value := regexp.MustCompile(`^(` + name + `)(?:\{` + label + `(?:,` + label + `)*\})? [-+0-9.eE]+$`)
	announced, seen, now := map[string]bool{}, map[string]bool{}, ""
	text := string(exposition(append(watched(t).metrics(time.Now()), processMetrics()...)))
	if !strings.HasSuffix(text, "\n") {
		t.Error("the last line does not end")
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		if m := help.FindStringSubmatch(line); m != nil {
			if announced[m[1]] {
				t.Errorf("%s is announced twice", m[1])
			}
			announced[m[1]], now = true, m[1]
			continue
		}
		if m := kind.FindStringSubmatch(line); m != nil {
			if m[1] != now || (m[2] == "counter") != strings.HasSuffix(now, "_total") {
				t.Errorf("%s", line)
			}
			continue
		}
		m := value.FindStringSubmatch(line)
		if m == nil || m[1] != now {
			t.Fatalf("not a sample of %s: %s", now, line)
		}
		key, _, _ := strings.Cut(line, "} ")
		if seen[key] {
			t.Errorf("twice: %s", line)
		}
		seen[key] = true
	}
	if len(announced) < 12 {
		t.Errorf("%d metrics", len(announced))
	}
}

func TestAllWakeAtTheSameMomentsAndNeverRarer(t *testing.T) {
	epoch := time.Unix(1000, 0)
	for _, tt := range []struct{ at, want time.Duration }{
		{0, time.Second},
		{5 * time.Millisecond, 995 * time.Millisecond},
		{1700 * time.Millisecond, 300 * time.Millisecond},
		{1900 * time.Millisecond, 250 * time.Millisecond}, // a look that took long is not followed by another at once
		{2500 * time.Millisecond, 500 * time.Millisecond},
	} {
		if got := untilPulse(epoch.Add(tt.at), time.Second); got != tt.want {
			t.Errorf("after %s: %s, want %s", tt.at, got, tt.want)
		}
	}
}
