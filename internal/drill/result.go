package drill

import (
	"slices"
	"time"

	"multihead/internal/drill/check"
	"multihead/internal/drill/clients"
)

// Result is one run of a scenario.
type Result struct {
	ID        string          `json:"id"`
	Name      string          `json:"name"`
	Breaks    string          `json:"breaks"`
	Expect    string          `json:"expect"`
	Cluster   string          `json:"cluster"`
	Heads     int             `json:"heads"`
	Owner     string          `json:"vip_owner"`     // before
	Primary   string          `json:"slurm_primary"` // before
	Victims   []string        `json:"victims"`
	Client    string          `json:"client"`    // where the workloads ran; empty is this machine
	VolumeOn  string          `json:"volume_on"` // the head that appended to the volume
	Begin     time.Time       `json:"begin"`
	Broken    time.Time       `json:"broken"`  // the fault began
	Mending   time.Time       `json:"mending"` // undoing it began
	Mended    time.Time       `json:"mended"`  // and was done
	End       time.Time       `json:"end"`     // the workloads ended
	Green     bool            `json:"green"`   // well again by itself
	ToGreen   time.Duration   `json:"to_green_ns"`
	NotGreen  []string        `json:"not_green,omitempty"`
	Services  []ServiceResult `json:"services"`
	Verdicts  []check.Verdict `json:"invariants"`
	Events    []Event         `json:"events"`
	Overlaps  int             `json:"vip_overlaps"`            // questions that two heads answered
	LostRedis int             `json:"redis_acknowledged_lost"` // within the declared bound or not
	Held      bool            `json:"held"`
	ops       []clients.Op
}

// Event is something that happened at a time.
type Event struct {
	At   time.Time `json:"at"`
	Kind string    `json:"kind"` // fault, state, note, green
	Text string    `json:"text"`
}

// ServiceResult is what the clients of one service saw.
type ServiceResult struct {
	Service      string        `json:"service"`
	Gap          check.Gap     `json:"gap"`    // the longest while the fault lasted
	Return       check.Gap     `json:"return"` // the longest afterwards, until all was well
	Bound        time.Duration `json:"bound_ns"`
	Resolution   time.Duration `json:"resolution_ns"`
	Held         bool          `json:"held"`
	Acknowledged int           `json:"acknowledged"`
	Failed       int           `json:"failed"`
	Unknown      int           `json:"unknown"`
}

// settle sums up.
func (r *Result) settle() {
	r.Held = len(r.Verdicts) > 0 &&
		!slices.ContainsFunc(r.Verdicts, func(v check.Verdict) bool { return !v.OK }) &&
		!slices.ContainsFunc(r.Services, func(s ServiceResult) bool { return !s.Held })
}

// Ops are all operations of the run, as the clients saw them.
func (r *Result) Ops() []clients.Op { return r.ops }
