package slurm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"strconv"
	"strings"

	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// ownDir makes a directory that a daemon keeps its state in. Where it is
// StateSaveLocation, it makes sure that it is not another cluster's.
type ownDir struct {
	dir     string
	attr    host.Attr
	cluster string // of StateSaveLocation; empty for another directory
	aside   string // where an undo puts what was begun in it meanwhile
}

func (s ownDir) String() string { return "make directory " + s.dir }

// Done says whether it is there with its owner, and holds nothing or the
// state of this cluster.
func (s ownDir) Done(ctx context.Context, h host.Reader) (bool, error) {
	if s.cluster != "" {
		d := lookState(ctx, h, s.dir, false)
		switch {
		case d.data == service.Unsure:
			return false, fmt.Errorf("%s: %s: %s", h.Name(), s.dir, d.why)
		case d.data == service.Yes && !strings.EqualFold(d.cluster, s.cluster):
			return false, fmt.Errorf("%s: %s holds the state of the cluster %s, not of %s; it is not touched", h.Name(), s.dir, d.cluster, s.cluster)
		}
	}
	return plan.Dir{Path: s.dir, Attr: s.attr}.Done(ctx, h)
}

// Do makes it. The undo moves what a daemon has begun in an empty directory
// aside, and leaves alone what was there before.
func (s ownDir) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	entries, err := h.ReadDir(ctx, s.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	there := err == nil
	undo, err := plan.Dir{Path: s.dir, Attr: s.attr}.Do(ctx, h)
	if len(entries) > 0 {
		return undo, err
	}
	return plan.Func{
		What: "keep what was begun in " + s.dir + " aside",
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			begun, err := h.ReadDir(ctx, s.dir)
			if err != nil {
				return nil, err
			}
			if len(begun) > 0 {
				if _, err := (plan.Aside{Path: s.dir, To: s.aside}).Do(ctx, h); err != nil || !there {
					return nil, err
				}
				if err := h.Mkdir(ctx, s.dir, s.attr); err != nil {
					return nil, err
				}
			}
			if undo == nil {
				return nil, nil
			}
			return undo.Do(ctx, h)
		},
	}, err
}

// Preview counts it as an addition.
func (s ownDir) Preview(ctx context.Context, h host.Reader) (plan.Preview, error) {
	return plan.Dir{Path: s.dir, Attr: s.attr}.Preview(ctx, h)
}

// byVersion is a file whose content hangs on the version of Slurm, which is
// known once its packages are there.
type byVersion struct {
	path string
	attr host.Attr
	data func(version string) ([]byte, error)
}

func (b byVersion) String() string { return "write " + b.path }

// Touches names the file.
func (b byVersion) Touches() []string { return []string{b.path} }

func (b byVersion) now(ctx context.Context, h host.Reader) (plan.File, error) {
	version, err := h.Query(ctx, "slurmctld", "-V")
	if err != nil {
		return plan.File{}, err
	}
	data, err := b.data(version)
	return plan.File{Path: b.path, Data: data, Attr: b.attr}, err
}

// Done compares the file with what this version needs.
func (b byVersion) Done(ctx context.Context, h host.Reader) (bool, error) {
	f, err := b.now(ctx, h)
	if errors.Is(err, exec.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return f.Done(ctx, h)
}

// Do writes it.
func (b byVersion) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	f, err := b.now(ctx, h)
	if err != nil {
		return nil, err
	}
	return f.Do(ctx, h)
}

// Preview shows the difference, where the version is known already.
func (b byVersion) Preview(ctx context.Context, h host.Reader) (plan.Preview, error) {
	f, err := b.now(ctx, h)
	if errors.Is(err, exec.ErrNotFound) {
		return plan.Preview{Kind: plan.Add}, nil
	}
	if err != nil {
		return plan.Preview{}, err
	}
	return f.Preview(ctx, h)
}

// before says whether a version as a daemon prints it ("slurm-wlm 22.05.8") is
// older. One that cannot be read is taken for a new one.
func before(version string, major, minor int) bool {
	for w := range strings.FieldsSeq(version) {
		x, rest, ok := strings.Cut(w, ".")
		y, _, _ := strings.Cut(rest, ".")
		a, err1 := strconv.Atoi(x)
		b, err2 := strconv.Atoi(y)
		if ok && err1 == nil && err2 == nil {
			return a < major || a == major && b < minor
		}
	}
	return false
}

// takeover lets a backup take over in order, before the controller in charge
// is stopped: requests wait for a moment instead of SlurmctldTimeout.
func takeover(name string, s *State) plan.Action {
	dir := s.cluster.Slurm.StateSaveLocation
	var index int
	for _, h := range s.heads {
		if h.name == name {
			index = h.place()
		}
	}
	inCharge := func(ctx context.Context, h host.Reader) (bool, error) {
		b, err := readHeartbeat(ctx, h, dir)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil // nobody's, or just being replaced
		}
		return err == nil && b.index == index, err
	}
	return plan.Func{
		What:      "let slurmctld on " + name + " take over",
		Satisfied: inCharge,
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			_, err := h.Run(ctx, host.Command("scontrol", "takeover", strconv.Itoa(index)))
			if err != nil {
				return nil, err
			}
			return plan.Await{What: name + " is in charge", Until: func(ctx context.Context, h host.Reader) (bool, string, error) {
				ok, err := inCharge(ctx, h)
				return ok, "another still is", err
			}}.Do(ctx, h)
		},
	}
}
