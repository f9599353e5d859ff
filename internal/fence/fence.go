// Package fence asks the distribution's fence agents whether a machine has
// power, and has them take it away. An agent is a program that reads its options
// from standard input, one NAME=value on a line, so that no password is ever seen
// in a list of processes.
//
// Nothing here believes a request: what counts is that the device, asked twice
// afterwards, says that the machine is off. Nothing here switches anything on.
package fence

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"

	"multihead/internal/config"
	"multihead/internal/host"
)

// Power is what a device says of its machine.
type Power string

// The answers. Unknown comes with an error that says why.
const (
	On      Power = "on"
	Off     Power = "off"
	Unknown Power = "unknown"
)

// Runner runs a program on the machine from which devices are asked: a head's
// agent its own, the tool any head that it has reached.
type Runner interface {
	Run(ctx context.Context, cmd host.Cmd) (string, error)
}

// Limits are how long a device may take, and how long to wait before it is asked
// again.
type Limits struct {
	Status time.Duration // for one question
	Off    time.Duration // for one order; the agents themselves wait 20 s for the power to go
	Pause  time.Duration // before each of the two questions that confirm
}

// Usual are the limits that real devices need.
func Usual() Limits {
	return Limits{Status: 10 * time.Second, Off: 30 * time.Second, Pause: time.Second}
}

// Proof is that a machine has no power.
type Proof struct {
	Host  string    `json:"host"`
	Agent string    `json:"agent"`
	When  time.Time `json:"when"` // of the second answer
	How   string    `json:"how"`  // for a person: "fence_ipmilan says off, twice"
}

// String is how it was proven, and when.
func (p Proof) String() string { return p.How + " at " + p.When.Format(time.TimeOnly) }

// Devices are the devices of a machine in the order in which they are tried.
// Each of them takes all power away: they are alternatives.
func Devices(f config.Fencing, node string) []config.FenceDevice {
	var out []config.FenceDevice
	for _, d := range f.Devices {
		if d.Node == node {
			out = append(out, d)
		}
	}
	place := func(d config.FenceDevice) int {
		if i := slices.Index(f.Order, d.Agent); i >= 0 {
			return i
		}
		return len(f.Order)
	}
	slices.SortStableFunc(out, func(a, b config.FenceDevice) int { return cmp.Compare(place(a), place(b)) })
	return out
}

// ErrNoDevice is a machine for which the file names no device.
var ErrNoDevice = errors.New("the cluster file has no fence device for it")

// statusLine is how every agent says what it found. Exit code 2 alone means off,
// and means wrong options as well.
var statusLine = regexp.MustCompile(`(?mi)^[ \t]*status:[ \t]*(on|off)[ \t]*\r?$`)

// Status asks one device. The answer counts where the agent's exit code (0 on,
// 2 off) and its words agree.
func Status(ctx context.Context, r Runner, d config.FenceDevice, lim Limits) (Power, error) {
	out, err := run(ctx, r, d, "status", lim.Status)
	var said Power
	for _, m := range statusLine.FindAllStringSubmatch(out, -1) {
		word := Power(strings.ToLower(m[1]))
		if said != "" && said != word {
			return Unknown, fmt.Errorf("%s says on and off at once", d.Agent)
		}
		said = word
	}
	var exit *host.ExitError
	switch {
	case err == nil && said == On:
		return On, nil
	case errors.As(err, &exit) && exit.Code == 2 && said == Off:
		return Off, nil
	case err == nil && said == "":
		return Unknown, fmt.Errorf("%s says neither on nor off", d.Agent)
	case err == nil:
		return Unknown, fmt.Errorf("%s says %s, and its exit code means on", d.Agent, said)
	}
	return Unknown, clean(d, err)
}

// Confirmed asks a device twice, with a pause before each, and wants off both
// times: some report success before the power has gone.
func Confirmed(ctx context.Context, r Runner, d config.FenceDevice, lim Limits) (Proof, error) {
	for range 2 {
		select {
		case <-ctx.Done():
			return Proof{}, context.Cause(ctx)
		case <-time.After(lim.Pause):
		}
		p, err := Status(ctx, r, d, lim)
		if err != nil {
			return Proof{}, err
		}
		if p != Off {
			return Proof{}, fmt.Errorf("%s says that it is still %s", d.Agent, p)
		}
	}
	return Proof{Host: d.Node, Agent: d.Agent, When: time.Now(), How: d.Agent + " says off, twice"}, nil
}

// Kill takes the power from a machine by the first of its devices that can, and
// proves it. An error joins what every device said; then the machine may be on.
func Kill(ctx context.Context, r Runner, devices []config.FenceDevice, lim Limits) (Proof, error) {
	if len(devices) == 0 {
		return Proof{}, ErrNoDevice
	}
	var errs []error
	for _, d := range devices {
		if _, err := run(ctx, r, d, "off", lim.Off); err != nil {
			errs = append(errs, clean(d, err))
			continue
		}
		p, err := Confirmed(ctx, r, d, lim)
		if err == nil {
			return p, nil
		}
		errs = append(errs, err)
	}
	return Proof{}, errors.Join(errs...)
}

// run runs an agent. What it started is killed with it at the limit.
func run(ctx context.Context, r Runner, d config.FenceDevice, action string, limit time.Duration) (string, error) {
	in, err := input(d, action)
	if err != nil {
		return "", err
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	out, err := r.Run(limited, host.Cmd{Argv: []string{d.Agent}, Stdin: in})
	var exit *host.ExitError
	switch {
	case err == nil:
		return out, nil
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case limited.Err() != nil:
		return "", fmt.Errorf("%s %s: no answer within %s", d.Agent, action, limit)
	case errors.As(err, &exit):
		return exit.Stdout, err
	}
	return out, err
}

// input is what an agent reads. Options that would change the question, or write
// passwords into files, are left out.
func input(d config.FenceDevice, action string) ([]byte, error) {
	if err := d.Check(); err != nil {
		return nil, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "action=%s\n", action)
	names := make([]string, 0, len(d.Options))
	for name := range d.Options {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(&b, "%s=%s\n", name, d.Options[name].Reveal())
	}
	return []byte(b.String()), nil
}

// clean is an agent's error for a person: without the host, which the caller
// names, and without any of the device's passwords, whatever the agent printed.
func clean(d config.FenceDevice, err error) error {
	text := ""
	var exit *host.ExitError
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return &NotInstalledError{Agent: d.Agent}
	case errors.As(err, &exit):
		said := strings.TrimSpace(exit.Stderr)
		if said == "" {
			said = strings.TrimSpace(exit.Stdout)
		}
		if i := strings.LastIndexByte(said, '\n'); i >= 0 {
			said = strings.TrimSpace(said[i+1:])
		}
		text = fmt.Sprintf("%s: exit code %d", d.Agent, exit.Code)
		if said != "" {
			text += ": " + said
		}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err // nothing in it is the agent's
	default:
		text = err.Error()
	}
	for name, v := range d.Options {
		if s := v.Reveal(); len(s) > 2 && !config.FencePlain(name) {
			text = strings.ReplaceAll(text, s, config.Masked)
		}
	}
	return errors.New(text)
}

// NotInstalledError is an agent that the machine does not have.
type NotInstalledError struct{ Agent string }

func (e *NotInstalledError) Error() string {
	return e.Agent + " is not installed there (multihead up installs it)"
}
