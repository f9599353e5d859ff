package test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// traceLines is how many lines of a stack dump are kept, each dump's own: the
// signal, and the first goroutines with what they were doing.
const traceLines = 40

// journalLine is a line of journalctl -o short-iso-precise: when, host, program
// and process, and what it said.
var journalLine = regexp.MustCompile(`^\S+ \S+ (\S+\[\d+\]): (.*)$`)

// withoutTraces leaves out of a journal most of what our own processes said as they
// were aborted: systemd's watchdog ends an agent that hangs so, and Go writes down
// every goroutine, which is thousands of lines. What they logged stays, and so does
// a panic, which nobody asked for.
func withoutTraces(journal string) string {
	var out []string
	said := map[string]int{}      // lines of a process's dump
	cutAt := map[string]int{}     // where in out it says how many are left out
	cut := func(process string) { // says so
		if n := said[process] - traceLines; n > 0 {
			out[cutAt[process]] = fmt.Sprintf("    ... and %d more lines of the trace of %s", n, process)
		}
	}
	for line := range strings.Lines(journal) {
		line = strings.TrimSuffix(line, "\n")
		m := journalLine.FindStringSubmatch(line)
		if m == nil {
			out = append(out, line)
			continue
		}
		process, text := m[1], m[2]
		if text == "SIGABRT: abort" {
			cut(process) // an earlier one of the same number
			said[process] = 0
		} else if said[process] == 0 || strings.HasPrefix(text, "level=") {
			out = append(out, line)
			continue
		}
		said[process]++
		if said[process] == traceLines+1 {
			cutAt[process] = len(out)
		}
		if said[process] <= traceLines+1 {
			out = append(out, line)
		}
	}
	for process := range said {
		cut(process)
	}
	return strings.Join(out, "\n")
}

// lastLines is the end of a text.
func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n") + "\n"
}

func TestTracesOfAbortedAgentsAreCutShort(t *testing.T) {
	line := func(process, text string) string {
		return "2026-11-23T04:06:20.851159+09:00 server1 " + process + ": " + text + "\n"
	}
	dump := func(process string, frames int) string {
		var b strings.Builder
		b.WriteString(line(process, "SIGABRT: abort"))
		for i := range frames {
			b.WriteString(line(process, fmt.Sprintf("goroutine %d gp=0x1 m=nil [select]:", i)))
		}
		return b.String()
	}
	const agent, other = "multihead[12]", "slurmctld[12]"
	before, after := line(agent, `level=INFO msg="agent is up"`), line("systemd[1]", "multihead-agent.service: Failed with result 'watchdog'.")
	for _, c := range []struct {
		name, journal string
		lines         int
		has, hasNot   []string
	}{
		{"no trace", before + after, 2, []string{before, after}, nil},
		{"a short one stays whole", before + dump(agent, 5) + after, 8, []string{"goroutine 4 "}, []string{"more lines"}},
		{"as many as are kept", dump(agent, traceLines-1), traceLines, []string{fmt.Sprintf("goroutine %d ", traceLines-2)}, []string{"more lines"}},
		{"a long one is cut", before + dump(agent, 5000) + after, 1 + traceLines + 1 + 1,
			[]string{before, "SIGABRT: abort", "goroutine 0 ", fmt.Sprintf("%d more lines of the trace of %s", 5001-traceLines, agent), strings.TrimSuffix(after, "\n")}, []string{"goroutine 4999 "}},
		{"each of two of one number", dump(agent, 50) + before + dump(agent, 60), 2*(traceLines+1) + 1,
			[]string{fmt.Sprintf(" %d more", 51-traceLines), fmt.Sprintf(" %d more", 61-traceLines)}, nil},
		{"what is logged meanwhile stays", dump(agent, 50) + before + line(agent, "goroutine 51"), traceLines + 2,
			[]string{before, fmt.Sprintf(" %d more", 52-traceLines)}, []string{"goroutine 51"}},
		{"others' lines stay", dump(agent, 50) + line(other, "goroutine 99") + "-- Boot 1 --\n", traceLines + 3, []string{"goroutine 99", "-- Boot 1 --"}, nil},
		{"a panic is not one of them", before + line(agent, "panic: oops") + line(agent, "goroutine 99"), 3, []string{"goroutine 99"}, []string{"more lines"}},
	} {
		got := withoutTraces(c.journal) + "\n"
		if n := strings.Count(got, "\n"); n != c.lines {
			t.Errorf("%s: %d lines, not %d\n%s", c.name, n, c.lines, got)
		}
		for _, w := range c.has {
			if !strings.Contains(got, w) {
				t.Errorf("%s: %q is gone", c.name, w)
			}
		}
		for _, w := range c.hasNot {
			if strings.Contains(got, w) {
				t.Errorf("%s: %q is there", c.name, w)
			}
		}
	}
	if got := lastLines("a\nb\nc\n", 2); got != "b\nc\n" {
		t.Errorf("%q", got)
	}
}
