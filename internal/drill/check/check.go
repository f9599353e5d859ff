// Package check says whether a cluster kept what it acknowledged. Its functions
// are pure: they compare what clients were told with what is there afterwards,
// and each of them can fail.
package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"multihead/internal/drill/clients"
)

// Verdict is one invariant's.
type Verdict struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	Text string `json:"text"` // what was found, with counts
}

func verdict(name string, wrong []string, right string) Verdict {
	if len(wrong) > 0 {
		return Verdict{name, false, strings.Join(wrong, "; ")}
	}
	return Verdict{name, true, right}
}

// some writes the first few of many.
func some[T any](list []T) string {
	const shown = 8
	more := ""
	if len(list) > shown {
		more = fmt.Sprintf(" and %d more", len(list)-shown)
		list = list[:shown]
	}
	words := make([]string, len(list))
	for i, v := range list {
		words[i] = fmt.Sprint(v)
	}
	return strings.Join(words, " ") + more
}

// Of picks the operations of one workload and kind.
func Of(ops []clients.Op, workload, kind string) []clients.Op {
	var out []clients.Op
	for _, op := range ops {
		if op.Workload == workload && op.Kind == kind {
			out = append(out, op)
		}
	}
	return out
}

// Numbers checks that every number that was acknowledged is on every node once,
// that none is there whose operation is known to have failed, and that all nodes
// have the same. A number whose outcome is unknown may be there or not.
func Numbers(name string, ops []clients.Op, nodes map[string][]int64) Verdict {
	acked, failed := map[int64]bool{}, map[int64]bool{}
	unknown := 0
	for _, op := range ops {
		switch op.Result {
		case clients.OK:
			acked[op.N] = true
		case clients.Failed:
			failed[op.N] = true
		default:
			unknown++
		}
	}
	var wrong []string
	if len(acked) == 0 {
		wrong = append(wrong, "nothing was acknowledged, so nothing was shown")
	}
	if len(nodes) == 0 {
		wrong = append(wrong, "no node was read")
	}
	var first string
	for _, node := range slices.Sorted(maps.Keys(nodes)) {
		seen := map[int64]int{}
		for _, n := range nodes[node] {
			seen[n]++
		}
		wrong = append(wrong, wrongNumbers(node, acked, failed, seen)...)
		if first == "" {
			first = node
		} else if !sameNumbers(nodes[first], nodes[node]) {
			wrong = append(wrong, fmt.Sprintf("%s and %s differ", first, node))
		}
	}
	return verdict(name, wrong, fmt.Sprintf("%d acknowledged and there on %d nodes, %d unknown", len(acked), len(nodes), unknown))
}

func wrongNumbers(node string, acked, failed map[int64]bool, seen map[int64]int) []string {
	var lost, twice, ghosts []int64
	for n := range acked {
		if seen[n] == 0 {
			lost = append(lost, n)
		}
	}
	for n, times := range seen {
		if times > 1 {
			twice = append(twice, n)
		}
		if failed[n] {
			ghosts = append(ghosts, n)
		}
	}
	var wrong []string
	for _, w := range []struct {
		what string
		list []int64
	}{{"acknowledged and lost", lost}, {"there more than once", twice}, {"there although they failed", ghosts}} {
		if len(w.list) > 0 {
			slices.Sort(w.list)
			wrong = append(wrong, fmt.Sprintf("%s: %d %s (%s)", node, len(w.list), w.what, some(w.list)))
		}
	}
	return wrong
}

func sameNumbers(a, b []int64) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// Bank checks that the total of all accounts is what it was, on every node.
func Bank(want int64, nodes map[string]int64) Verdict {
	var wrong []string
	if len(nodes) == 0 {
		wrong = append(wrong, "no node was read")
	}
	for _, node := range slices.Sorted(maps.Keys(nodes)) {
		if nodes[node] != want {
			wrong = append(wrong, fmt.Sprintf("%s has %d and not %d", node, nodes[node], want))
		}
	}
	return verdict("bank total", wrong, fmt.Sprintf("%d on %d nodes", want, len(nodes)))
}

// Window is a time in which something may be lost, and why.
type Window struct {
	From, To time.Time
}

// within says whether an operation ended in one of the windows.
func within(op clients.Op, windows []Window) bool {
	return slices.ContainsFunc(windows, func(w Window) bool { return !op.End.Before(w.From) && !op.End.After(w.To) })
}

// Keys checks the keys of Redis: one that was acknowledged and is not there is
// lost. Redis replicates after it has acknowledged, so what was acknowledged
// within one of the windows may be lost; it is counted. What was lost outside
// them, or has another value, breaks the invariant.
func Keys(ops []clients.Op, values map[int64]string, windows []Window) (v Verdict, lost int) {
	var outside, changed []int64
	acked := 0
	for _, op := range ops {
		if op.Result != clients.OK {
			continue
		}
		acked++
		value, there := values[op.N]
		switch {
		case there && value != fmt.Sprint(op.N):
			changed = append(changed, op.N)
		case !there:
			lost++
			if !within(op, windows) {
				outside = append(outside, op.N)
			}
		}
	}
	var wrong []string
	if acked == 0 {
		wrong = append(wrong, "nothing was acknowledged, so nothing was shown")
	}
	if len(outside) > 0 {
		wrong = append(wrong, fmt.Sprintf("%d acknowledged and lost outside the time in which asynchronous replication may lose (%s)", len(outside), some(outside)))
	}
	if len(changed) > 0 {
		wrong = append(wrong, fmt.Sprintf("%d have another value (%s)", len(changed), some(changed)))
	}
	return verdict("redis keys", wrong, fmt.Sprintf("%d acknowledged, %d lost within the declared bound", acked, lost)), lost
}

// Job is a job as Slurm knows it.
type Job struct {
	ID    string
	Name  string
	State string // the first word: COMPLETED, RUNNING, CANCELLED …
	Start string // as Slurm writes it
}

// Jobs checks that every job number that was handed out is that of the job it
// was handed out for, that no job ended otherwise than by itself, that none was
// made twice, and that the long job, which ran before anything was broken, still
// runs and was not started anew. Names are the prefix and the operation's number.
// slurmctld answers before it has written a job down: what it accepted within one
// of the windows may be lost, and is counted.
func Jobs(ops []clients.Op, jobs []Job, prefix string, long Job, windows []Window) Verdict {
	byID, byName := map[string]Job{}, map[string][]string{}
	for _, j := range jobs {
		byID[j.ID] = j
		if !slices.Contains(byName[j.Name], j.ID) {
			byName[j.Name] = append(byName[j.Name], j.ID)
		}
	}
	var wrong, lost, ended, twice []string
	acked, unwritten := 0, 0
	for _, op := range ops {
		if op.Result != clients.OK {
			continue
		}
		acked++
		name := prefix + op.Kind
		if op.Kind == "" {
			name = prefix + fmt.Sprint(op.N)
		}
		j, ok := byID[op.Value]
		switch {
		case (!ok || j.Name != name) && within(op, windows):
			unwritten++
		case !ok || j.Name != name:
			lost = append(lost, op.Value)
		case !slices.Contains([]string{"PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "COMPLETED"}, j.State):
			ended = append(ended, fmt.Sprintf("%s %s", j.ID, j.State))
		}
	}
	for name, ids := range byName {
		if len(ids) > 1 {
			twice = append(twice, name)
		}
	}
	slices.Sort(twice)
	if acked == 0 {
		wrong = append(wrong, "no job was accepted, so nothing was shown")
	}
	if len(lost) > 0 {
		wrong = append(wrong, fmt.Sprintf("%d of %d jobs that were accepted are neither in squeue nor in sacct (%s)", len(lost), acked, some(lost)))
	}
	if len(ended) > 0 {
		wrong = append(wrong, fmt.Sprintf("%d jobs did not end by themselves (%s)", len(ended), some(ended)))
	}
	if len(twice) > 0 {
		wrong = append(wrong, fmt.Sprintf("%d submissions made more than one job (%s)", len(twice), some(twice)))
	}
	right := fmt.Sprintf("%d accepted, all known, none killed", acked)
	if unwritten > 0 {
		right = fmt.Sprintf("%d accepted, none killed, %d lost within the declared bound (not yet written when the power went)", acked, unwritten)
	}
	switch now := byID[long.ID]; {
	case long.ID == "":
		right += "; the long job had not started, so nothing was shown about running jobs"
	case now.State != "RUNNING" || now.Start != long.Start:
		wrong = append(wrong, fmt.Sprintf("job %s ran since %s and is now %s since %s", long.ID, long.Start, now.State, now.Start))
	default:
		right += ", the long one runs on"
	}
	return verdict("jobs", wrong, right)
}

// Node is a compute node as Slurm knows it.
type Node struct{ State, Reason string }

// Nodes checks that no compute node that took jobs before takes none now.
func Nodes(before, after map[string]Node) (v Verdict, lost []string) {
	var wrong []string
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if !takesJobs(before[name].State) {
			continue
		}
		if n := after[name]; !takesJobs(n.State) {
			lost = append(lost, name)
			wrong = append(wrong, fmt.Sprintf("%s was %s and is %s: %s", name, before[name].State, n.State, n.Reason))
		}
	}
	return verdict("no compute node lost", wrong, fmt.Sprintf("%d nodes as before", len(before))), lost
}

func takesJobs(state string) bool {
	return state != "" && !strings.HasSuffix(state, "*") && !strings.Contains(state, "drain") && !strings.HasPrefix(state, "down") && !strings.HasPrefix(state, "fail")
}

// overlapAllowed is how long two heads may answer for the address while it moves.
// More than that is two holders.
const overlapAllowed = time.Second

// Holders checks who answered for the virtual address: never two for longer than
// a moment, and exactly one in the end. Overlaps are counted in any case.
func Holders(ops []clients.Op) (v Verdict, overlaps int) {
	var wrong []string
	var since, last time.Time
	var longest time.Duration
	var who, final string
	for _, op := range ops {
		if !strings.Contains(op.Value, ",") {
			since = time.Time{}
		} else {
			overlaps++
			if since.IsZero() {
				since = op.Begin
			}
			if d := op.End.Sub(since); d > longest {
				longest, who = d, op.Value
			}
		}
		if op.Value != "" {
			final, last = op.Value, op.End
		}
	}
	if len(ops) == 0 || final == "" {
		return Verdict{"one holder of the virtual address", false, "nobody was ever seen to hold it"}, 0
	}
	if longest > overlapAllowed {
		wrong = append(wrong, fmt.Sprintf("%s answered at the same time for %.1f s", strings.ReplaceAll(who, ",", " and "), longest.Seconds()))
	}
	if strings.Contains(final, ",") {
		wrong = append(wrong, "in the end both "+strings.ReplaceAll(final, ",", " and ")+" answer")
	}
	if end := ops[len(ops)-1].End; end.Sub(last) > overlapAllowed {
		wrong = append(wrong, fmt.Sprintf("nobody answered in the last %.1f s", end.Sub(last).Seconds()))
	}
	right := fmt.Sprintf("asked %d times, %s in the end", len(ops), final)
	if overlaps > 0 {
		right += fmt.Sprintf("; two answered %d times, %.1f s at the longest", overlaps, longest.Seconds())
	}
	return verdict("one holder of the virtual address", wrong, right), overlaps
}
