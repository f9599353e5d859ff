package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"multihead/internal/cluster"
	"multihead/internal/drill"
)

// A real cluster is broken only by somebody who has typed its name.
func TestADrillWantsTheClustersName(t *testing.T) {
	scenarios := drill.Scenarios()[:1]
	for name, c := range map[string]struct {
		confirm string
		code    int // 0: goes on
	}{
		"the name":               {"hpc", 0},
		"another name":           {"other", exitUsage},
		"nothing, and no prompt": {"", exitUsage},
	} {
		t.Run(name, func(t *testing.T) {
			a := &app{stdin: strings.NewReader("hpc\n"), stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}}
			err := a.typedName(t.Context(), cluster.Status{Name: "hpc"}, drillFlags{confirm: c.confirm}, scenarios)
			var coded *exitError
			switch {
			case c.code == 0 && err != nil:
				t.Error(err)
			case c.code != 0 && (!errors.As(err, &coded) || coded.code != c.code):
				t.Errorf("%v, not exit code %d", err, c.code)
			}
		})
	}
}

func TestADrillThatDidNotHoldFails(t *testing.T) {
	table := "table"
	a := &app{lang: "en", stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}}
	good, bad := &drill.Result{Name: "x", Held: true}, &drill.Result{Name: "x"}
	if err := a.reportDrills([]*drill.Result{good}, drillFlags{output: &table}); err != nil {
		t.Error(err)
	}
	var coded *exitError
	if err := a.reportDrills([]*drill.Result{good, bad}, drillFlags{output: &table}); !errors.As(err, &coded) || coded.code != exitFailed {
		t.Errorf("%v", err)
	}
}
