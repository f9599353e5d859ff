package main

import (
	"multihead/internal/cluster"
	"multihead/internal/plan"
)

// What became of an up or a down.
const (
	outcomeUnchanged = "nothing changed"
	outcomeFailed    = "failed" // something was begun; the error says how far it came
	outcomeDone      = "done"
)

// upReport is what up and down print with -o json: one document, whatever
// happens. Its plan is the one that was agreed to.
type upReport struct {
	plan.JSON
	Outcome    string          `json:"outcome"`
	NotReached []string        `json:"not_reached"` // hosts that did not answer and were left alone
	Error      string          `json:"error,omitempty"`
	Status     *cluster.Status `json:"status,omitempty"` // how the cluster is in the end, where it was looked at
}

// found takes over what is to be done.
func (r *upReport) found(run *upRun) {
	r.JSON = run.prop.JSON()
	r.NotReached = append([]string{}, run.sess.view.Unreached()...)
}

// reported does what a verb does. With -o json standard output gets the report
// and nothing else; what is said to a person goes to standard error.
func (a *app) reported(output string, do func(a *app, report *upReport) error) error {
	report := &upReport{JSON: plan.Proposal{}.JSON(), Outcome: outcomeUnchanged, NotReached: []string{}}
	if output != "json" {
		return do(a, report)
	}
	aside := *a
	aside.stdout = a.stderr
	err := do(&aside, report)
	if err != nil {
		report.Error = err.Error()
	}
	if perr := a.printJSON(report); err == nil {
		err = perr
	}
	return err
}
