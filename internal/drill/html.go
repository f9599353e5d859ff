package drill

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"time"

	"multihead/internal/drill/clients"
)

//go:embed report.html.tmpl
var page string

// HTML is a page about the runs that needs nothing beside it: no script, no
// style sheet, no picture from elsewhere.
func HTML(results []*Result, now time.Time) ([]byte, error) {
	t, err := template.New("report").Funcs(template.FuncMap{
		"s":        func(d time.Duration) string { return fmt.Sprintf("%.2f", d.Seconds()) },
		"clock":    func(t time.Time) string { return t.Format("15:04:05.000") },
		"timeline": newTimeline,
	}).Parse(page)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = t.Execute(&out, struct {
		Reported
		Now time.Time
	}{Report(results), now})
	return out.Bytes(), err
}

// Sizes of the picture, in its own units.
const (
	chartLeft  = 90.0
	chartWidth = 860.0
	laneHeight = 26.0
	chartTop   = 24.0
)

// timeline is one run as a picture: a lane for each service, with what
// succeeded, and the gaps.
type timeline struct {
	Width, Height float64
	Ticks         []tick
	Lanes         []lane
	Fault         span // from the fault until it was undone
	Green         float64
	Marks         []moment
}

type tick struct {
	X    float64
	Text string
}

type span struct {
	X, W float64
	Text string
}

type lane struct {
	Name string
	Y    float64
	Gap  span
	OK   []span // stretches in which operations succeeded
	Bad  []span // stretches in which none did and some failed
}

type moment struct {
	X    float64
	Text string
	Kind string
}

// cell is how much time one stretch of a lane stands for at least.
const cells = 430

func newTimeline(r *Result) timeline {
	from, to := r.Broken.Add(-5*time.Second), r.End
	if to.Before(from.Add(time.Second)) {
		to = from.Add(time.Second)
	}
	x := func(t time.Time) float64 {
		if t.Before(from) {
			t = from
		}
		if t.After(to) {
			t = to
		}
		return chartLeft + chartWidth*float64(t.Sub(from))/float64(to.Sub(from))
	}
	out := timeline{Width: chartLeft + chartWidth + 10, Height: chartTop + laneHeight*float64(len(r.Services)) + 22}
	out.Fault = span{X: x(r.Broken), W: x(r.Mended) - x(r.Broken)}
	if r.Green {
		out.Green = x(r.Mended.Add(r.ToGreen))
	}
	for i, s := range r.Services {
		l := lane{Name: s.Service, Y: chartTop + laneHeight*float64(i)}
		l.Gap = span{X: x(s.Gap.From), W: x(s.Gap.To) - x(s.Gap.From), Text: fmt.Sprintf("%.2f s", s.Gap.Length.Seconds())}
		l.OK, l.Bad = stretches(r.ops, s.Service, from, to)
		out.Lanes = append(out.Lanes, l)
	}
	step := niceStep(to.Sub(from))
	for d := time.Duration(0); from.Add(d).Before(to); d += step {
		out.Ticks = append(out.Ticks, tick{x(r.Broken.Add(-5*time.Second + d)), fmt.Sprintf("%+.0f s", (d - 5*time.Second).Seconds())})
	}
	for _, e := range r.Events {
		out.Marks = append(out.Marks, moment{x(e.At), e.At.Format("15:04:05.0 ") + e.Text, e.Kind})
	}
	return out
}

// niceStep is a step between labels, so that there are about a dozen.
func niceStep(d time.Duration) time.Duration {
	for _, s := range []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 20 * time.Second, 30 * time.Second, time.Minute} {
		if d/s <= 14 {
			return s
		}
	}
	return 2 * time.Minute
}

// stretches puts a workload's operations into cells of time, by when they ended,
// and joins neighbours that are alike.
func stretches(ops []clients.Op, workload string, from, to time.Time) (ok, bad []span) {
	var good, ill [cells]bool
	for _, op := range ops {
		if op.Workload != workload || op.End.Before(from) || !op.End.Before(to) || op.Kind == clients.LongJob {
			continue
		}
		i := int(float64(cells) * float64(op.End.Sub(from)) / float64(to.Sub(from)))
		if op.Result == clients.OK {
			good[i] = true
		} else {
			ill[i] = true
		}
	}
	for i := range ill {
		ill[i] = ill[i] && !good[i]
	}
	return joined(good), joined(ill)
}

func joined(on [cells]bool) []span {
	const w = chartWidth / cells
	var out []span
	for i, set := range on {
		if !set {
			continue
		}
		x := chartLeft + w*float64(i)
		if n := len(out); n > 0 && x-(out[n-1].X+out[n-1].W) < w/2 {
			out[n-1].W += w
			continue
		}
		out = append(out, span{X: x, W: w})
	}
	return out
}
