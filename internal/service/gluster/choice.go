package gluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

const (
	choiceDir = "/var/lib/multihead"
	// stampForm is how runs are named, service.Input.Stamp.
	stampForm = "20060102T150405Z"
	// stragglers is how long the self-heal daemons wait for the others once the
	// first head that was left out is back: they would put together what is to
	// give way. Heads whose power comes back at once boot within a minute of each
	// other.
	stragglers = 2 * time.Minute
)

// choice is a person's word about which copies of the volume count: it went on
// with them while too few were left to know that they had everything. It lies on
// the heads whose copies were chosen, and is open until those that were left out
// have come back and given way, each once: what they note after that is their work.
type choice struct {
	Volume  string    `json:"volume"`
	ID      string    `json:"volume_id"`
	Chosen  []string  `json:"chosen"`   // heads
	LeftOut []leftOut `json:"left_out"` // the other bricks' heads
	At      string    `json:"at"`       // the run that it was taken in, a time
	By      string    `json:"by"`       // who took it, and where
	Back    string    `json:"first_back,omitempty"`
	Closed  string    `json:"closed,omitempty"`
}

// leftOut is a head whose copy was not chosen.
type leftOut struct {
	Head  string `json:"head"`
	Proof string `json:"proof,omitempty"`    // that it was switched off; empty where it may have served on
	Gave  string `json:"gave_way,omitempty"` // when it had come back, and given way where it differed
}

func (c *choice) open() bool { return c != nil && c.Closed == "" }

// away is the heads that were left out and have not come back since.
func (c *choice) away() []leftOut {
	var out []leftOut
	for _, l := range c.LeftOut {
		if l.Gave == "" {
			out = append(out, l)
		}
	}
	return out
}

func (c *choice) String() string {
	at := c.At
	if t, err := time.Parse(stampForm, c.At); err == nil {
		at = t.Format(time.DateTime) + " UTC"
	}
	by := c.By
	if by == "" {
		by = "a person"
	}
	return fmt.Sprintf("chosen by %s at %s", by, at)
}

// with is the record once these heads are back, closed where no other is left.
func (c *choice) with(back []string, now string) *choice {
	next := *c
	if next.Back == "" {
		next.Back = now
	}
	next.LeftOut = slices.Clone(c.LeftOut)
	for i := range next.LeftOut {
		if l := &next.LeftOut[i]; l.Gave == "" && slices.Contains(back, l.Head) {
			l.Gave = now
		}
	}
	if len(next.away()) == 0 {
		next.Closed = now
	}
	return &next
}

func choicePath(volume string) string {
	return path.Join(choiceDir, "glusterfs."+strings.ReplaceAll(volume, "/", "_")+".choice.json")
}

// readChoice reads a head's record; nil where there is none.
func readChoice(ctx context.Context, r host.Reader, volume string) (*choice, error) {
	data, err := r.ReadFile(ctx, choicePath(volume))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var c choice
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("%s: %s: %w", r.Name(), choicePath(volume), err)
	}
	return &c, nil
}

// chosen is the newest record of those that heads whose copies it chose have: a
// later one was taken without those that an earlier one had chosen.
func (s *State) chosen(v *volume) *choice {
	var newest *choice
	for i := range s.heads {
		h := &s.heads[i]
		c := h.choice
		if c == nil || c.Volume != s.conf.VolumeName || c.ID != v.ID || !slices.Contains(c.Chosen, h.name) {
			continue
		}
		// Of one that is carried by several heads, what is furthest.
		if newest == nil || c.At > newest.At || c.At == newest.At && len(c.away()) < len(newest.away()) {
			newest = c
		}
	}
	if !newest.open() {
		return nil
	}
	return newest
}

// choiceOf is the record of a volume that goes on without a quorum.
func (s *State) choiceOf(v *volume, by string) *choice {
	c := &choice{Volume: s.conf.VolumeName, ID: v.ID, At: s.stamp, By: by}
	for _, b := range v.Bricks {
		switch h := s.ownerOf(b); {
		case h == nil: // no head of the file: nothing of it is ours
		case h.reached && h.data == service.Yes:
			c.Chosen = append(c.Chosen, h.name)
		case !h.reached:
			c.LeftOut = append(c.LeftOut, leftOut{Head: h.name, Proof: h.dead})
		}
	}
	return c
}

// same says whether two records are of the same heads.
func (c *choice) same(as *choice) bool {
	heads := func(c *choice) (out []string) {
		for _, l := range c.LeftOut {
			out = append(out, l.Head)
		}
		return out
	}
	return slices.Equal(c.Chosen, as.Chosen) && slices.Equal(heads(c), heads(as))
}

// keepChoice writes the record down on the heads whose copies were chosen. A run
// that is made again keeps the first one.
func (s *State) keepChoice(c *choice) []plan.Step {
	what := fmt.Sprintf("write down that %s counts, and that of %s gives way to it", copyOf(c.Chosen), names(c.LeftOut))
	return s.onChosen(c, "choice", what, func(have *choice) bool {
		return have.open() && have.ID == c.ID && have.same(c) && len(have.away()) == len(have.LeftOut)
	})
}

// onChosen writes a record on every reached head whose copy it chose.
func (s *State) onChosen(c *choice, id, what string, done func(*choice) bool) []plan.Step {
	var out []plan.Step
	for _, name := range c.Chosen {
		h := s.head(name)
		if h == nil || !h.reached {
			continue
		}
		out = append(out, plan.Step{ID: "glusterfs." + id, Host: name, Action: plan.Func{
			What: what, Kind: plan.Change,
			Satisfied: func(ctx context.Context, r host.Reader) (bool, error) {
				have, err := readChoice(ctx, r, c.Volume)
				return have != nil && done(have), err
			},
			Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
				data, err := json.MarshalIndent(c, "", "  ")
				if err != nil {
					return nil, err
				}
				if err := h.Mkdir(ctx, choiceDir, host.Attr{Mode: 0o755, Owner: "root", Group: "root"}); err != nil {
					return nil, err
				}
				return nil, h.WriteFile(ctx, choicePath(c.Volume), append(data, '\n'), host.Attr{Mode: 0o644, Owner: "root", Group: "root"})
			}}})
	}
	return out
}

func copyOf(heads []string) string { return "the copy of " + strings.Join(heads, ", ") }

func names(left []leftOut) string {
	var out []string
	for _, l := range left {
		out = append(out, l.Head)
	}
	return strings.Join(out, ", ")
}
