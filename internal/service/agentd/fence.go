package agentd

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	"multihead/internal/config"
	"multihead/internal/host"
)

// lookForFenceAgents finds out which packages a head lacks to be able to switch
// off the others. An agent that is there, from wherever, needs none.
func (t *seat) lookForFenceAgents(ctx context.Context, r host.Reader, c *config.Cluster) {
	if !t.head || !t.reached || !c.Fencing.Enabled {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	want := map[string]bool{}
	var release []byte
	for _, d := range c.Fencing.Devices {
		if d.Check() != nil {
			continue // validation says so
		}
		_, err := r.Stat(ctx, "/usr/sbin/"+d.Agent)
		if err == nil {
			continue
		}
		if !errors.Is(err, fs.ErrNotExist) {
			t.reached, t.why = false, err.Error()
			return
		}
		if release == nil {
			if release, err = r.ReadFile(ctx, "/etc/os-release"); err != nil {
				t.reached, t.why = false, err.Error()
				return
			}
		}
		want[fencePackage(d.Agent, string(release))] = true
	}
	t.fencePackages = slices.Sorted(maps.Keys(want))
}

// fencePackage is the package of a fence agent. Debian before 13 and Ubuntu before
// 24.04 have one for all agents; those after, and the Red Hat family, have one for
// each kind of device.
func fencePackage(agent, osRelease string) string {
	id, version := "", 0.0
	for line := range strings.Lines(osRelease) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		value = strings.Trim(value, `"'`)
		switch key {
		case "ID":
			id = value
		case "VERSION_ID":
			version, _ = strconv.ParseFloat(value, 64) // none: a release to come
		}
	}
	if version > 0 && (id == "debian" && version < 13 || id == "ubuntu" && version < 24) {
		return "fence-agents"
	}
	kind := strings.TrimPrefix(agent, "fence_")
	switch kind {
	case "ilo3", "ilo4", "ilo5", "idrac", "imm", "ipmilanplus":
		kind = "ipmilan"
	case "ilo":
		kind = "ilo2"
	case "ilo3_ssh", "ilo4_ssh", "ilo5_ssh":
		kind = "ilo-ssh"
	case "virt", "xvm":
		return "fence-virt"
	case "tripplite_snmp":
		kind = "apc-snmp"
	}
	return "fence-agents-" + strings.ReplaceAll(kind, "_", "-")
}

// fencing is what the agents say of heads that are silent, as one phrase.
func (s *State) fencing() string {
	off, doing := map[string]string{}, ""
	for _, t := range s.seats {
		if t.report == nil {
			continue
		}
		maps.Copy(off, t.report.Dead)
		if t.report.Fencing != "" && doing == "" {
			doing = t.name + ": " + t.report.Fencing
		}
	}
	var said []string
	for _, name := range slices.Sorted(maps.Keys(off)) {
		said = append(said, name+" is off: "+off[name])
	}
	if doing != "" {
		said = append(said, doing)
	}
	return strings.Join(said, "; ")
}
