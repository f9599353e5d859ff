package drill

import (
	"context"
	"slices"
	"time"
)

// Listed is a scenario as `drill list -o json` has it.
type Listed struct {
	ID     string           `json:"id"`
	Name   string           `json:"name"`
	Breaks string           `json:"breaks"`
	Expect string           `json:"expect"`
	Heads  int              `json:"heads"`
	Lost   int              `json:"lost_at_once"`
	Lab    bool             `json:"lab_only"`
	Bounds map[string]int64 `json:"bounds_ms,omitempty"`
}

// List is all scenarios.
func List() []Listed {
	var out []Listed
	for _, s := range Scenarios() {
		l := Listed{s.ID, s.Name, s.Breaks, s.Expect, s.Heads, s.Lost, s.Lab, map[string]int64{}}
		for k, v := range s.Bounds {
			l.Bounds[k] = v.Milliseconds()
		}
		out = append(out, l)
	}
	return out
}

// Reported is what `drill run -o json` prints.
type Reported struct {
	Version int       `json:"version"`
	Held    bool      `json:"held"`
	Drills  []Summary `json:"drills"`
}

// Summary is all runs of one scenario.
type Summary struct {
	ID           string           `json:"id"`
	Name         string           `json:"name"`
	Held         bool             `json:"held"`
	Services     []ServiceSummary `json:"services"`
	ToGreenP50   time.Duration    `json:"to_green_p50_ns"`
	ToGreenWorst time.Duration    `json:"to_green_worst_ns"`
	Runs         []*Result        `json:"runs"`
}

// ServiceSummary is one service over all runs.
type ServiceSummary struct {
	Service      string        `json:"service"`
	P50          time.Duration `json:"p50_ns"`
	Worst        time.Duration `json:"worst_ns"`
	WorstReturn  time.Duration `json:"worst_return_ns"`
	Bound        time.Duration `json:"bound_ns"`
	Held         bool          `json:"held"`
	Acknowledged int           `json:"acknowledged"`
	Unknown      int           `json:"unknown"`
	Failed       int           `json:"failed"`
}

// Report sums up runs by scenario, in the order in which they were run.
func Report(results []*Result) Reported {
	out := Reported{Version: 1, Held: len(results) > 0, Drills: []Summary{}}
	for _, r := range results {
		i := slices.IndexFunc(out.Drills, func(d Summary) bool { return d.Name == r.Name })
		if i < 0 {
			out.Drills = append(out.Drills, Summary{ID: r.ID, Name: r.Name, Held: true})
			i = len(out.Drills) - 1
		}
		out.Drills[i].Runs = append(out.Drills[i].Runs, r)
		out.Drills[i].Held = out.Drills[i].Held && r.Held
		out.Held = out.Held && r.Held
	}
	for i := range out.Drills {
		out.Drills[i].sum()
	}
	return out
}

func (d *Summary) sum() {
	var green []time.Duration
	gaps := map[string][]time.Duration{}
	for _, r := range d.Runs {
		if r.Green {
			green = append(green, r.ToGreen)
		}
		for _, s := range r.Services {
			i := slices.IndexFunc(d.Services, func(o ServiceSummary) bool { return o.Service == s.Service })
			if i < 0 {
				d.Services = append(d.Services, ServiceSummary{Service: s.Service, Bound: s.Bound, Held: true})
				i = len(d.Services) - 1
			}
			sum := &d.Services[i]
			gaps[s.Service] = append(gaps[s.Service], s.Gap.Length)
			sum.WorstReturn = max(sum.WorstReturn, s.Return.Length)
			sum.Held = sum.Held && s.Held
			sum.Acknowledged += s.Acknowledged
			sum.Unknown += s.Unknown
			sum.Failed += s.Failed
		}
	}
	d.ToGreenP50, d.ToGreenWorst = middle(green)
	for i := range d.Services {
		d.Services[i].P50, d.Services[i].Worst = middle(gaps[d.Services[i].Service])
	}
}

// middle is the median (the lower of two) and the largest.
func middle(list []time.Duration) (p50, worst time.Duration) {
	if len(list) == 0 {
		return 0, 0
	}
	slices.Sort(list)
	return list[(len(list)-1)/2], list[len(list)-1]
}

// Statement runs one statement in the drill's own database, as root.
func Statement(ctx context.Context, env Env, statement string) error {
	r := &run{env: env, res: &Result{}}
	db, err := r.anyRoot(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, "USE "+Name); err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, statement)
	return err
}
