package keepalived

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path"
	"strings"

	"multihead/internal/host"
	"multihead/internal/plan"
)

const (
	// standsBack is what the agent writes while the head cannot serve.
	standsBack = "1\n"
	agentUnit  = "multihead-agent.service"
	dropInPath = "/etc/systemd/system/" + unit + ".d/multihead.conf"
	// The distributions' unit leaves a keepalived that was killed dead, and with
	// it a head that cannot take the address over.
	dropInText = `# Managed by multihead; changes are overwritten.
[Unit]
StartLimitIntervalSec=0

[Service]
Restart=on-failure
RestartSec=1
`
)

// unitPart is a file that adds to the unit. systemd reads it at once where
// keepalived runs: it is not restarted for it, and counts on it when it is killed.
type unitPart struct{ plan.File }

// Do writes it.
func (u unitPart) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	undo, err := u.File.Do(ctx, h)
	if err != nil {
		return undo, err
	}
	out, err := h.Query(ctx, "systemctl", "show", unit, "--property=ActiveState")
	if err == nil && strings.TrimSpace(out) == "ActiveState=active" {
		_, err = h.Run(ctx, host.Command("systemctl", "daemon-reload"))
	}
	return undo, err
}

// checkedConf is a keepalived.conf that takes the place of the old one only
// after keepalived itself has read it without complaint.
type checkedConf struct{ plan.File }

// Do writes the file beside its place, has it checked, and then writes it.
func (c checkedConf) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	candidate := plan.File{Path: path.Join(path.Dir(c.Path), ".multihead-candidate.conf"), Data: c.Data, Attr: c.Attr}
	undo, err := candidate.Do(ctx, h)
	if undo != nil {
		defer func() { _, _ = undo.Do(context.WithoutCancel(ctx), h) }()
	}
	if err != nil {
		return nil, err
	}
	if _, err := h.Query(ctx, "keepalived", "-t", "-f", candidate.Path); err != nil {
		return nil, fmt.Errorf("keepalived does not accept its new configuration, the old one stays: %w", complaint(err))
	}
	return c.File.Do(ctx, h)
}

// standBack has a head that joins leave the address to the others until its agent, which
// comes last, finds that its services serve: it would take the address while its database
// is still being sent, should the others not be fit for a moment (seen: both restarted
// Redis). What an agent that runs has told keepalived stays. A boot forgets it.
type standBack struct{}

func (standBack) String() string {
	return "leave the address to the other heads until its agent finds that it serves"
}

// Done says whether it stands back, or its agent decides. What an agent said that runs no
// more, of a head that had left, says nothing of what serves there now.
func (standBack) Done(ctx context.Context, h host.Reader) (bool, error) {
	said, err := h.ReadFile(ctx, trackFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	}
	return string(said) == standsBack || host.RunningUnits(ctx, h, agentUnit)[agentUnit], nil
}

// Do writes what the agent writes while the head cannot serve.
func (standBack) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	return plan.File{Path: trackFile, Data: []byte(standsBack), Attr: host.Attr{Mode: 0o644, Owner: "root", Group: "root"}}.Do(ctx, h)
}

// Touches names the file.
func (standBack) Touches() []string { return []string{trackFile} }

// Preview counts it as a change.
func (standBack) Preview(context.Context, host.Reader) (plan.Preview, error) {
	return plan.Preview{Kind: plan.Change}, nil
}

// complaint brings forward what keepalived said: the place and the reason
// stand in the middle of its output.
func complaint(err error) error {
	var exit *host.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	var said []string
	for line := range strings.SplitSeq(exit.Stderr+"\n"+exit.Stdout, "\n") {
		if strings.Contains(line, "Line ") || strings.Contains(line, "(multihead)") {
			said = append(said, strings.TrimSpace(line))
		}
	}
	if len(said) == 0 {
		return err
	}
	return fmt.Errorf("%s: %w", strings.Join(said, "; "), err)
}

// sysctl sets a kernel setting now; a file in /etc/sysctl.d does so at boot.
type sysctl struct{ path, name, value string }

func (s sysctl) String() string { return "set " + s.name + " to " + s.value }

// Done reads the setting. A kernel without it has nothing to set.
func (s sysctl) Done(ctx context.Context, h host.Reader) (bool, error) {
	now, err := readWord(ctx, h, s.path)
	return now == s.value || now == "", err
}

// Do sets it and returns what sets it back.
func (s sysctl) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	was, err := readWord(ctx, h, s.path)
	if err != nil {
		return nil, err
	}
	if _, err := h.Run(ctx, host.Command("sysctl", "-q", "-w", s.name+"="+s.value)); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return nil, fmt.Errorf("sysctl is missing (package procps): %w", err)
		}
		return nil, err
	}
	return sysctl{s.path, s.name, was}, nil
}

// Preview counts it as a change.
func (s sysctl) Preview(context.Context, host.Reader) (plan.Preview, error) {
	return plan.Preview{Kind: plan.Change}, nil
}
