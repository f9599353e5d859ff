package plan

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// record writes a journal and reads it back.
func record(t *testing.T, info RunInfo, events []Event, end func(*Journal)) *RunRecord {
	t.Helper()
	dir := t.TempDir()
	info.ID = "20261122_081500.000"
	j, err := NewJournal(dir, info)
	if err != nil {
		t.Fatal(err)
	}
	for _, ev := range events {
		if err := j.Record(ev); err != nil {
			t.Fatal(err)
		}
	}
	if end != nil {
		end(j)
	} else {
		t.Cleanup(func() { _ = j.file.Close() })
	}
	r, err := OpenRun(RunPath(dir, info.ID))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestARecordSaysWhatBecameOfEveryStep(t *testing.T) {
	at := time.Date(2026, 11, 22, 8, 15, 0, 0, time.UTC)
	planned := []PlannedStep{{Phase: "redis", Step: "a", Host: "s1", Kind: Change, Text: "write"}, {Phase: "redis", Step: "b", Host: "s1", Kind: Restart, Text: "restart"},
		{Phase: "redis", Step: "c", Host: "s1", Kind: Wait, Text: "wait"}, {Phase: "redis", Step: "d", Host: "s1", Kind: Run, Text: "join"}}
	ev := func(t EventType, step, text, errText string, s float64) Event {
		return Event{Time: at.Add(time.Duration(s * float64(time.Second))), Type: t, Phase: "redis", Step: step, Host: "s1", Text: text, Error: errText, Seconds: s}
	}
	events := []Event{{Time: at, Type: PhaseStart, Phase: "redis"}, ev(StepStart, "a", "write", "", 0), ev(StepDone, "a", "write", "", 1),
		ev(StepSkipped, "b", "restart", "", 0), ev(StepStart, "c", "wait", "", 0), ev(StepFailed, "c", "wait", "no answer", 2),
		ev(UndoStart, "a", "put back", "", 0), ev(UndoDone, "a", "put back", "", 3), {Time: at, Type: PhaseFailed, Phase: "redis", Error: "no answer", Seconds: 4},
		ev(StepStart, "new", "found later", "", 0)}
	r := record(t, RunInfo{Begin: at, Plan: planned, Cause: "redis down"}, events, func(j *Journal) { _ = j.Close(errors.New("no answer")) })
	want := map[string]StepResult{"a": StepUndone, "b": StepWasSo, "c": StepHasFailed, "d": StepNotBegun, "new": StepNotEnded}
	if len(r.Did) != len(want) {
		t.Fatalf("steps: %+v", r.Did)
	}
	for _, s := range r.Did {
		if s.Result != want[s.Step] {
			t.Errorf("%s: %s, want %s", s.Step, s.Result, want[s.Step])
		}
	}
	if r.Did[0].Seconds != 1 || r.Did[0].Kind != Change || r.Did[2].Error != "no answer" {
		t.Errorf("steps: %+v", r.Did)
	}
	if r.Result != RunFailed || r.Error != "no answer" || r.Cause != "redis down" {
		t.Errorf("%s %q %q", r.Result, r.Error, r.Cause)
	}
	if len(r.Phases) != 1 || r.Phases[0].Error != "no answer" || r.Phases[0].Seconds != 4 {
		t.Errorf("phases: %+v", r.Phases)
	}
}

func TestTheEndOfARunIsToldApart(t *testing.T) {
	for name, tt := range map[string]struct {
		end  func(*Journal)
		want RunResult
	}{
		"done":            {func(j *Journal) { _ = j.Close(nil) }, RunDone},
		"failed":          {func(j *Journal) { _ = j.Close(errors.New("x")) }, RunFailed},
		"stopped":         {func(j *Journal) { _ = j.Close(errors.Join(ErrStopped)) }, RunStopped},
		"at work":         {nil, RunWorking},
		"killed":          {func(j *Journal) { _ = j.file.Close() }, RunCutOff},
		"killed mid-line": {func(j *Journal) { _, _ = j.file.WriteString(`{"time":"2026`); _ = j.file.Close() }, RunCutOff},
	} {
		t.Run(name, func(t *testing.T) {
			if r := record(t, RunInfo{}, nil, tt.end); r.Result != tt.want {
				t.Errorf("%s, want %s", r.Result, tt.want)
			}
		})
	}
}

// An agent plans in rounds: the same step may come again, and each time counts.
func TestAStepThatCameTwiceIsTwoSteps(t *testing.T) {
	ev := func(typ EventType, s float64) Event {
		return Event{Type: typ, Phase: "redis", Step: "a", Host: "s1", Text: "do", Seconds: s}
	}
	r := record(t, RunInfo{}, []Event{ev(StepStart, 0), ev(StepFailed, 1), ev(StepStart, 0), ev(StepDone, 2)}, func(j *Journal) { _ = j.Close(nil) })
	if len(r.Did) != 2 || r.Did[0].Result != StepHasFailed || r.Did[1].Result != StepIsDone || r.Did[1].Seconds != 2 {
		t.Errorf("%+v", r.Did)
	}
}

func TestWhatIsNoRecordIsSaidToBeNone(t *testing.T) {
	for name, text := range map[string]string{"empty": "", "cut off in its first line": `{"version":1,"id":"2026`, "something else": "hello\n"} {
		if _, err := ReadRun(strings.NewReader(text)); err == nil {
			t.Errorf("%s: read", name)
		}
	}
	if ids := RunIDs([]string{"1.jsonl", "x.txt", "3.jsonl", "2.jsonl"}); strings.Join(ids, " ") != "3 2 1" {
		t.Errorf("%v", ids)
	}
}

func FuzzReadRun(f *testing.F) {
	dir := f.TempDir()
	j, err := NewJournal(dir, RunInfo{ID: "x", Plan: []PlannedStep{{Phase: "p", Step: "s", Host: "h"}}})
	if err != nil {
		f.Fatal(err)
	}
	for _, typ := range []EventType{PhaseStart, StepStart, StepDone, UndoDone, PhaseDone} {
		_ = j.Record(Event{Type: typ, Phase: "p", Step: "s", Host: "h"})
	}
	_ = j.Close(nil)
	data, err := os.ReadFile(filepath.Join(dir, "x.jsonl"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(data[:len(data)/2])
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := ReadRun(bytes.NewReader(in))
		if err == nil && (r.ID == "" || r.Seconds() < 0) {
			t.Errorf("%+v", r)
		}
	})
}
