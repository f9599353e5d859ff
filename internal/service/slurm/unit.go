package slurm

import (
	"fmt"
	"path"
	"strings"
)

// ctldDropIn guards slurmctld's start. Where the volume is not mounted its
// place is an empty directory, and slurmctld would begin anew in there, without
// the jobs; Slurm 22.05 does not notice.
func ctldDropIn(mount, state string, dbd, first bool) []byte {
	var b strings.Builder
	// No order after slurmdbd: its start may be queued behind that of a database
	// which waits for other heads.
	b.WriteString("# Managed by multihead; changes are overwritten.\n[Unit]\n")
	if mount != "" {
		// Wants and PartOf instead of Requires: a start that fails because
		// the volume is not there yet is tried again, mount and all, and an
		// unmounted volume stops the daemon.
		unit := mountUnit(mount)
		fmt.Fprintf(&b, "After=%[1]s\nWants=%[1]s\nPartOf=%[1]s\n", unit)
	}
	b.WriteString("StartLimitIntervalSec=0\n\n[Service]\nRuntimeDirectory=slurmctld\nRuntimeDirectoryMode=0755\n")
	if mount != "" {
		fmt.Fprintf(&b, "ExecStartPre=+/usr/bin/mountpoint -q %s\n", mount)
	}
	fmt.Fprintf(&b, "ExecStartPre=/usr/bin/test -f %s\n", path.Join(state, marker))
	if dbd {
		// Measured: with a slurmdbd that answers while its database does not
		// (Galera without a majority), slurmctld ends with "no TRES" at every
		// start and takeover. With no slurmdbd at all it goes by its state
		// files; and slurmdbd does not answer before its database does.
		b.WriteString("ExecStartPre=+-/bin/sh -c 'timeout 5 sacctmgr -nP show tres format=id >/dev/null 2>&1 || timeout 10 systemctl try-restart slurmdbd.service'\n")
	}
	if first {
		fmt.Fprintf(&b, "ExecStartPre=-%s %s\n", turnPath, state)
	}
	fmt.Fprintf(&b, "ExecStartPre=+/usr/bin/timeout 40 %s %s 8\n", readablePath, state)
	fmt.Fprintf(&b, "ExecStartPre=+-/usr/bin/timeout 40 %s %s %s\n", lostPath, state, lostFile)
	// Not always: one that another takes over from, by scontrol takeover, is told to
	// end and would be in charge again before the other is.
	b.WriteString("Restart=on-failure\nRestartSec=1\n")
	// Told again until it hears: one that gives way to another controller in the
	// same moment takes the signal for that one's, stands by, and ended only when
	// systemd killed it (seen in 24.11: 90 s). Giving way takes half a minute; one
	// that hears nothing is killed after 40 s of this and 45 s more.
	b.WriteString("ExecStop=-/bin/sh -c 'exec 2>/dev/null; n=0; while [ $$n -lt 200 ] && kill -$$([ $$((n %% 10)) -eq 0 ] && echo TERM || echo 0) $$MAINPID; do sleep 0.2; n=$$((n + 1)); done'\nTimeoutStopSec=45\n")
	return []byte(b.String())
}

// dbdDropIn lets slurmdbd wait for its database instead of giving up. One that is
// just changing between standing by and serving does not hear that it is to stop
// (seen for 90 s, systemd's limit); killed it loses nothing, for slurmctld keeps
// what was not confirmed.
const dbdDropIn = `# Managed by multihead; changes are overwritten.
[Unit]
StartLimitIntervalSec=0

[Service]
RuntimeDirectory=slurmdbd
RuntimeDirectoryMode=0755
TimeoutStopSec=20
Restart=on-failure
RestartSec=1
`

// nodeDropIn lets slurmd start without a slurm.conf, which Slurm 22.05's unit
// demands, and fetch it from the heads, again and again until one answers.
const nodeDropIn = `# Managed by multihead; changes are overwritten.
[Unit]
ConditionPathExists=
StartLimitIntervalSec=0

[Service]
EnvironmentFile=` + nodeEnv + `
Restart=on-failure
RestartSec=2
`

// mountUnit is systemd's name for the unit of a mount point.
func mountUnit(mount string) string {
	p := strings.Trim(path.Clean(mount), "/")
	if p == "" {
		return "-.mount"
	}
	var b strings.Builder
	for i := range len(p) {
		switch c := p[i]; {
		case c == '/':
			b.WriteByte('-')
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == ':', c == '_', c == '.' && i > 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, `\x%02x`, c)
		}
	}
	return b.String() + ".mount"
}
