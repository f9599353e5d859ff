package doctor

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"multihead/internal/config"
	"multihead/internal/host"
)

// packages is what a host has and could have.
type packages struct {
	installed map[string]string // version by package
	offered   map[string]string // version that the package sources offer
	broken    bool              // an installation was cut off
	unchecked bool              // another package manager than apt: only what is installed is known
}

// wantedPackages are the main packages of a host's services on Debian: where
// they are offered, what they depend on is too.
func wantedPackages(c *config.Cluster, p Patient) []string {
	name := p.Spec.Hostname
	out := []string{"chrony"}
	switch p.Role {
	case Head:
		out = append(out, "munge")
		if c.Runs(name, config.GlusterFS) {
			out = append(out, "glusterfs-server", "glusterfs-client")
		}
		if c.Runs(name, config.MariaDB) {
			out = append(out, "mariadb-server", "mariadb-backup", "galera-4")
		}
		if c.Runs(name, config.Redis) {
			out = append(out, "redis-server")
		}
		if c.Runs(name, config.Slurm) {
			out = append(out, "slurmctld", "slurmdbd")
		}
		if c.Runs(name, config.Keepalived) {
			out = append(out, "keepalived")
		}
	case Compute:
		out = append(out, "munge", "slurmd")
	case Witness:
		out = append(out, "galera-arbitrator-4")
		if w, ok := c.GlusterArbiter(); ok && w.Hostname == name {
			out = append(out, "glusterfs-server")
		}
	}
	return out
}

func askPackages(ctx context.Context, r *recorder, wanted []string) (packages, error) {
	p := packages{installed: map[string]string{}, offered: map[string]string{}}
	out, err := r.Query(ctx, append([]string{"dpkg-query", "-W", "-f", "${Package} ${db:Status-Status} ${Version}\\n"}, wanted...)...)
	var exit *host.ExitError
	switch {
	case missing(err):
		return askRPM(ctx, r, wanted)
	case errors.As(err, &exit): // 1: some are unknown; the others are listed
		out = exit.Stdout
	case err != nil:
		return p, err
	}
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) == 3 && f[1] == "installed" {
			p.installed[f[0]] = f[2]
		}
	}
	out, err = r.Query(ctx, append([]string{"apt-cache", "policy"}, wanted...)...)
	if err != nil {
		return p, err
	}
	p.offered = parsePolicy(out)
	out, err = r.Query(ctx, "dpkg", "--audit")
	p.broken = err == nil && strings.TrimSpace(out) != ""
	return p, nil
}

func askRPM(ctx context.Context, r *recorder, wanted []string) (packages, error) {
	p := packages{installed: map[string]string{}, unchecked: true}
	out, err := r.Query(ctx, "rpm", "-qa", "--qf", "%{NAME} %{VERSION}-%{RELEASE}\\n")
	if err != nil {
		return p, err
	}
	for line := range strings.Lines(out) {
		if name, version, ok := strings.Cut(strings.TrimSpace(line), " "); ok && (slices.Contains(wanted, name) || strings.HasPrefix(name, "slurm")) {
			p.installed[name] = version
		}
	}
	return p, nil
}

// parsePolicy reads apt-cache policy: the candidate's version by package.
func parsePolicy(text string) map[string]string {
	out := map[string]string{}
	name := ""
	for line := range strings.Lines(text) {
		switch {
		case !strings.HasPrefix(line, " "):
			name = strings.TrimSuffix(strings.TrimSpace(line), ":")
		case strings.HasPrefix(line, "  Candidate: "):
			if v := strings.TrimSpace(strings.TrimPrefix(line, "  Candidate: ")); v != "(none)" && name != "" {
				out[name] = v
			}
		}
	}
	return out
}

// judgePackages wants every package installed or to be had.
func judgePackages(c *config.Cluster, f *facts) Finding {
	fi := Finding{Check: checkPackages, Level: OK, Asked: f.packages.asked}
	if f.packages.err != nil {
		return fi.unknown(f.packages.err)
	}
	p := f.packages.value
	if p.broken {
		fi.worse(Fail, "an installation of packages was cut off there", "finish it with: dpkg --configure -a")
	}
	var have int
	var toCome, nowhere []string
	wanted := wantedPackages(c, f.patient)
	for _, name := range wanted {
		switch {
		case p.installed[name] != "":
			have++
		case p.offered[name] != "":
			toCome = append(toCome, name)
		default:
			nowhere = append(nowhere, name)
		}
	}
	switch {
	case len(nowhere) == 0:
	case p.unchecked:
		fi.worse(Unknown, "not installed, and whether they are offered was not asked: "+strings.Join(nowhere, " "), "")
	default:
		fi.worse(Fail, "no package source of the host offers "+strings.Join(nowhere, ", "),
			"run apt-get update there and check /etc/apt; without a way out, give it a mirror or a repository in a directory")
	}
	said := fmt.Sprintf("%d of %d installed", have, len(wanted))
	if len(toCome) > 0 {
		said += ", to be installed: " + strings.Join(toCome, " ")
	}
	fi.fine(said)
	return fi
}

// release is a Slurm release, such as 24.11 as {24, 11}.
type release struct{ major, minor int }

func (r release) String() string { return fmt.Sprintf("%d.%02d", r.major, r.minor) }

func (r release) less(o release) bool {
	return r.major < o.major || r.major == o.major && r.minor < o.minor
}

// slurmRelease finds the release that a host has or will get.
func (f *facts) slurmRelease() (r release, version string, ok bool) {
	names := []string{"slurmctld", "slurm-slurmctld", "slurmd", "slurm-slurmd", "slurm"}
	if f.patient.Role == Compute {
		names = []string{"slurmd", "slurm-slurmd", "slurm"}
	}
	for _, list := range []map[string]string{f.packages.value.installed, f.packages.value.offered} {
		for _, n := range names {
			if r, ok := parseSlurm(list[n]); ok {
				return r, list[n], true
			}
		}
	}
	return release{}, "", false
}

// parseSlurm reads the release out of a package's version: 24.11.5-4.
func parseSlurm(version string) (release, bool) {
	m := regexp.MustCompile(`^(?:\d+:)?(\d+)\.(\d+)`).FindStringSubmatch(version)
	if m == nil {
		return release{}, false
	}
	major, err1 := strconv.Atoi(m[1])
	minor, err2 := strconv.Atoi(m[2])
	return release{major, minor}, err1 == nil && err2 == nil
}

// judgeSlurm wants one release on all heads, and no compute node newer than
// they are: slurmctld does not talk to a newer slurmd.
func judgeSlurm(c *config.Cluster, f *facts, all []*facts) Finding {
	fi := Finding{Check: checkSlurm, Level: OK, Asked: f.packages.asked}
	mine := f.patient.Role == Compute || f.patient.Role == Head && c.Runs(f.patient.Spec.Hostname, config.Slurm)
	if !mine {
		fi.Level = Skipped
		return fi
	}
	if f.packages.err != nil {
		return fi.unknown(f.packages.err)
	}
	own, version, ok := f.slurmRelease()
	if !ok {
		return fi.unknown(errors.New("no Slurm is installed or offered"))
	}
	for _, o := range all {
		theirs, _, known := o.slurmRelease()
		if !known || o.patient.Role != Head || !c.Runs(o.patient.Spec.Hostname, config.Slurm) || o == f {
			continue
		}
		who := o.patient.Spec.Hostname
		switch {
		case f.patient.Role == Head && own != theirs:
			fi.worse(Fail, fmt.Sprintf("Slurm %s here and %s on %s: heads have to be of one release", own, theirs, who), "bring the heads to the same release")
		case f.patient.Role == Compute && theirs.less(own):
			fi.worse(Fail, fmt.Sprintf("slurmd %s here is newer than slurmctld %s on %s, which will not talk to it", own, theirs, who), "upgrade the heads first")
		}
	}
	fi.fine("Slurm " + version)
	return fi
}
