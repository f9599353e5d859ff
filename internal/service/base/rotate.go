package base

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

const (
	// nextKey is the new key beside the old one, until all hosts have changed.
	// While it lies anywhere, a rotation has begun and has not ended.
	nextKey = mungeKey + ".multihead-next"
	// keptKeys is how keys that were replaced are named, followed by the run's stamp.
	keptKeys = mungeKey + ".multihead-"
	// mungeProofTime bounds how long credentials may be refused after the change.
	mungeProofTime = 30 * time.Second
)

// KeyHolder is one host's munge key, as a rotation meets it.
type KeyHolder struct {
	Name    string
	Head    bool
	Why     string // why it is not known; empty where it is
	Current []byte
	Since   time.Time // when the key was put there
	Next    []byte    // the key of a rotation that has not ended
	Kept    [][]byte  // keys that rotations have replaced
	mode    fs.FileMode
	reader  host.Reader
}

// MungeKeys is what a rotation of the munge key goes by.
type MungeKeys struct {
	Hosts []KeyHolder // heads first, in the file's order
	Stamp string      // names what this run keeps
	At    time.Time   // when it was looked at
	user  string
}

// ObserveMungeKeys reads the keys of all heads and compute nodes at once.
func ObserveMungeKeys(ctx context.Context, in service.Input) MungeKeys {
	k := MungeKeys{Stamp: in.Stamp, At: time.Now(), user: in.Cluster.Users.MungeUser}
	nodes := append(slices.Clone(in.Heads), in.Computes...)
	for i, n := range nodes {
		if slices.ContainsFunc(k.Hosts, func(h KeyHolder) bool { return h.Name == n.Name() }) {
			continue
		}
		h := KeyHolder{Name: n.Name(), Head: i < len(in.Heads), Why: "not reached", reader: n.Reader}
		if n.Err != nil {
			h.Why = n.Err.Error()
		}
		k.Hosts = append(k.Hosts, h)
	}
	var g errgroup.Group
	for i := range k.Hosts {
		if h := &k.Hosts[i]; h.reader != nil {
			g.Go(func() error {
				h.Why = ""
				if err := h.look(ctx); err != nil {
					h.Why = err.Error()
				}
				return nil
			})
		}
	}
	_ = g.Wait() // what a host does not answer is part of what was found
	return k
}

func (h *KeyHolder) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	info, err := h.reader.Stat(ctx, mungeKey)
	if err != nil {
		return err
	}
	h.Since, h.mode = info.ModTime, info.Mode.Perm()
	if h.Current, err = h.reader.ReadFile(ctx, mungeKey); err != nil {
		return err
	}
	files, err := h.reader.ReadDir(ctx, "/etc/munge")
	if err != nil {
		return err
	}
	for _, f := range files {
		path := "/etc/munge/" + f.Name
		if !strings.HasPrefix(path, keptKeys) {
			continue
		}
		data, err := h.reader.ReadFile(ctx, path)
		switch {
		case err != nil:
			return err
		case path == nextKey:
			h.Next = data
		default:
			h.Kept = append(h.Kept, data)
		}
	}
	return nil
}

// KeyRotation is what a person asks for.
type KeyRotation struct {
	Fresh     []byte        // the new key, if one is due (NewMungeKey), or that of the rotation that is gone on with
	OlderThan time.Duration // a key that is younger is not due
	Without   []string      // hosts that do not answer and get the key later
}

// Plan puts one new key on all hosts: beside the old one first, everywhere, and
// then, in one stage, in its place. A rotation that was cut off goes on with its own
// key. One that has ended gives its key to hosts that were left out. Where neither
// is so and the key is not due, the phase is empty.
func (k MungeKeys) Plan(r *KeyRotation) (plan.Phase, error) {
	ph := plan.Phase{Name: "munge"}
	hosts, err := k.known(r)
	if err != nil || len(hosts) == 0 {
		return ph, err
	}
	key, err := k.target(hosts, r)
	if err != nil || key == nil {
		return ph, err
	}
	attr := host.Attr{Mode: 0o400, Owner: k.user, Group: k.user}
	var place, change, clean plan.Stage
	place.Name, change.Name, clean.Name = "place the new key beside the old one", "change over, all hosts at once", "clean"
	for _, h := range hosts {
		if !bytes.Equal(h.Current, key) {
			place.Steps = append(place.Steps,
				plan.Step{ID: "munge.next", Host: h.Name, Action: plan.File{Path: nextKey, Data: key, Attr: attr, Secret: true}},
				plan.Step{ID: "munge.keep", Host: h.Name, Action: plan.File{Path: keptKeys + k.Stamp, Data: h.Current, Attr: attr, Secret: true}})
		}
		own := attr
		if bytes.Equal(h.Current, key) && h.mode&^0o600 == 0 {
			own.Mode = 0 // as it is; a new mode would be no reason to restart
		}
		change.Steps = append(change.Steps,
			plan.Step{ID: "munge.key", Host: h.Name, Action: plan.File{Path: mungeKey, Data: key, Attr: own, Secret: true},
				Effect: "munge restarts on all hosts at once: Slurm's commands may be refused for a moment; jobs go on"},
			plan.Step{ID: "munge.unit", Host: h.Name, Action: plan.Running(mungeUnit, mungeKey)})
		clean.Steps = append(clean.Steps, plan.Step{ID: "munge.clean", Host: h.Name, Action: gone{plan.Absent{Path: nextKey}}})
	}
	ph.Stages = []plan.Stage{place, change, {Name: "prove", Steps: proofs(hosts)}, clean}
	ph.Notes = append(ph.Notes, "the key that is replaced is kept on every host as "+keptKeys+k.Stamp)
	for _, h := range k.Hosts {
		if h.Why != "" {
			ph.Notes = append(ph.Notes, fmt.Sprintf("%s keeps its key and is shut out until multihead rotate munge is run again with it", h.Name))
		}
	}
	return ph, nil
}

// proofs has a credential of every host be good on all others: the one of the first
// head everywhere, and everybody's there.
func proofs(hosts []KeyHolder) []plan.Step {
	var steps []plan.Step
	for i, h := range hosts {
		others, what := []host.Reader{hosts[0].reader}, "munge credentials of %[2]s are good on %[1]s"
		if i == 0 {
			others, what = nil, "munge credentials of %s are good on all hosts"
			for _, o := range hosts[1:] {
				others = append(others, o.reader)
			}
		}
		text := fmt.Sprintf(what, hosts[0].Name)
		if i > 0 {
			text = fmt.Sprintf(what, hosts[0].Name, h.Name)
		}
		steps = append(steps, plan.Step{ID: "munge.proof", Host: h.Name, Action: plan.Await{What: text, Timeout: mungeProofTime,
			Until: func(ctx context.Context, h host.Reader) (bool, string, error) { return proven(ctx, h, others) }}})
	}
	return steps
}

// known is the hosts that get the key. One that does not answer would be shut out.
func (k MungeKeys) known(r *KeyRotation) ([]KeyHolder, error) {
	var out []KeyHolder
	var errs []error
	for _, h := range k.Hosts {
		left := slices.Contains(r.Without, h.Name)
		switch {
		case h.Why == "":
			out = append(out, h)
		case h.Head:
			errs = append(errs, refusal(h.Name+" is a head and did not show its munge key: "+h.Why,
				"Bring it back first: a head that misses the new key is shut out of Slurm."))
		case !left:
			errs = append(errs, refusal(h.Name+" did not show its munge key: "+h.Why,
				"Bring it back, or say --without "+h.Name+": it is then shut out of Slurm until multihead rotate munge is run again with it."))
		}
	}
	return out, errors.Join(errs...)
}

// target is the key that all hosts are to have; nil is nothing to do.
func (k MungeKeys) target(hosts []KeyHolder, r *KeyRotation) ([]byte, error) {
	current := hosts[0].Current
	has := func(key []byte) func(KeyHolder) bool {
		return func(h KeyHolder) bool { return bytes.Equal(h.Current, key) }
	}
	var begun []byte
	for _, h := range hosts {
		// One that a host has changed to already is the one that was meant.
		if h.Next != nil && (begun == nil || slices.ContainsFunc(hosts, has(h.Next)) && !slices.ContainsFunc(hosts, has(begun))) {
			begun = h.Next
		}
	}
	if begun != nil {
		if len(begun) < mungeKeyMin || len(begun) > mungeKeyMax {
			return nil, refusal("the key of a rotation that was cut off has "+fmt.Sprint(len(begun))+" bytes, which munge does not take",
				"Remove "+nextKey+" from the hosts that have it, and run multihead rotate munge again.")
		}
		r.Fresh = begun
		return begun, nil
	}
	var late []string
	for _, h := range hosts {
		if has(current)(h) {
			continue
		}
		was := func(o KeyHolder) bool {
			return slices.ContainsFunc(o.Kept, func(key []byte) bool { return bytes.Equal(key, h.Current) })
		}
		if h.Head || !slices.ContainsFunc(hosts, was) {
			return nil, refusal(fmt.Sprintf("the munge keys of %s and %s differ, and no rotation explains it", hosts[0].Name, h.Name),
				"Run multihead up first: it gives all hosts one key, or says why it cannot.")
		}
		late = append(late, h.Name)
	}
	if len(late) > 0 {
		r.Fresh = current // they missed the last rotation
		return current, nil
	}
	if bytes.Equal(current, r.Fresh) || k.At.Sub(hosts[0].Since) <= r.OlderThan {
		return nil, nil
	}
	return r.Fresh, nil
}

// NewMungeKey draws a key.
func NewMungeKey() ([]byte, error) {
	key := make([]byte, mungeKeyMax)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("munge key: %w", err)
	}
	return key, nil
}

// Age is how long the first head has had its key.
func (k MungeKeys) Age() time.Duration {
	if len(k.Hosts) == 0 || k.Hosts[0].Since.IsZero() {
		return 0
	}
	return k.At.Sub(k.Hosts[0].Since)
}

// gone is Absent for what an earlier step of the same plan makes.
type gone struct{ plan.Absent }

// Watches implements plan.Watcher.
func (g gone) Watches() []string { return []string{g.Path} }
