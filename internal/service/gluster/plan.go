package gluster

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

var root = host.Attr{Mode: 0o644, Owner: "root", Group: "root"}

// Plan implements service.State.
func (s *State) Plan(intent service.Intent) (plan.Phase, error) {
	ph := plan.Phase{Name: "glusterfs"}
	b, err := s.decide(intent)
	if err != nil {
		return ph, err
	}
	ph.Notes = s.notes(b, intent)
	var mounts []string
	for _, h := range s.heads {
		if h.reached && intent.Includes(h.name) {
			mounts = append(mounts, h.name)
		}
	}
	install := plan.Stage{Name: "install"}
	for _, name := range mounts {
		steps, err := s.install(s.head(name), b)
		if err != nil {
			return ph, err
		}
		install.Steps = append(install.Steps, steps...)
	}
	if b.arbiter != "" {
		install.Steps = append(install.Steps, s.installBrick(s.head(b.arbiter))...)
	}
	if b.lost { // and would be in the way of the new one
		forget, err := s.forgetLost(b)
		if err != nil {
			return ph, err
		}
		ph.Stages = append(ph.Stages, forget...)
	}
	if b.former {
		ph.Stages = append(ph.Stages, plan.Stage{Name: "the former arbiter's brick", Steps: []plan.Step{s.former(s.head(b.arbiter))}})
	}
	ph.Stages = append(ph.Stages, install)
	if len(b.pool) > 0 {
		ph.Stages = append(ph.Stages,
			plan.Stage{Name: "pool", Steps: s.probe(b)},
			plan.Stage{Name: "names in the pool", Steps: s.introduce(b)},
			plan.Stage{Name: "volume", Steps: s.volumeSteps(b)},
			plan.Stage{Name: "bricks", Steps: s.serving(s.oldBricks(b), b.unforced)})
	}
	if b.known != nil && (len(s.added(b)) > 0 || b.dropped != nil) {
		ph.Stages = append(ph.Stages, s.helpHeal(s.head(b.cli), b.known, intent)...)
	}
	if b.dropped != nil && !b.lost {
		drop, err := s.dropArbiter(b.cli, b.known, s.copyHolders(b.known))
		if err != nil {
			return ph, err
		}
		ph.Stages = append(ph.Stages, drop...)
	}
	if b.known != nil {
		ph.Stages = append(ph.Stages, s.carryOn(b)...)
	}
	if len(b.pool) > 0 {
		ph.Stages = append(ph.Stages, s.growSteps(b)...)
		ph.Stages = append(ph.Stages,
			plan.Stage{Name: "new bricks", Steps: s.serving(s.added(b), b.unforced)})
	}
	ph.Stages = append(ph.Stages, plan.Stage{Name: "mount", Steps: s.mount(mounts)})
	if at := s.contentsHost(b, mounts); at != "" {
		ph.Stages = append(ph.Stages, plan.Stage{Name: "contents", Steps: s.contents(at)})
	}
	// New bricks are part of the plan's outcome; what old ones have to heal is the
	// volume's health, which status reports and no other step has to wait for.
	if added := b.known == nil || len(s.added(b)) > 0; added && len(b.pool) > 0 && len(b.skipped) == 0 && s.replicated(b) {
		ph.Stages = append(ph.Stages, plan.Stage{Name: "healed", Steps: []plan.Step{s.healed(b.cli, "")}})
	}
	ph.Stages = append(ph.Stages, s.formerVoters(b, intent)...)
	return ph, nil
}

// carryOn finishes what an earlier run was cut off from after it had added a
// brick. That brick has to be full before another one is added: until then the
// copies that the new one is made from are fewer than the volume counts.
func (s *State) carryOn(b blueprint) []plan.Stage {
	have := len(b.known.Bricks) - s.leftover(b.known)
	if b.dropped != nil {
		have--
	}
	if have < 2 {
		return nil
	}
	heal := []plan.Step{s.followed(b.cli, ""), s.healOn(b.cli, "")}
	if len(s.added(b)) > 0 {
		heal = append(heal, s.healed(b.cli, "before-growing"))
	}
	return []plan.Stage{{Name: "clients", Steps: s.takeUp("", have)}, {Name: "heal", Steps: heal}}
}

// replicated says whether the volume will have more than one copy: one alone
// has nothing to heal, and glusterd refuses the question.
func (s *State) replicated(b blueprint) bool {
	if b.known == nil {
		return len(b.create) > 1
	}
	return s.copies(b.known)+len(b.grow) > 1
}

// added is the hosts whose bricks are added to a volume that exists, in that order.
func (s *State) added(b blueprint) []string {
	if !b.vote {
		return b.grow
	}
	return append(slices.Clone(b.grow), b.arbiter)
}

// oldBricks is the hosts of the pool whose bricks are part of the volume before any
// is added.
func (s *State) oldBricks(b blueprint) []string {
	out := slices.Clone(b.create)
	if b.known != nil {
		for _, name := range b.pool {
			if b.known.has(s.own(s.head(name))) {
				out = append(out, name)
			}
		}
	}
	if b.arbiter != "" && !b.vote {
		out = append(out, b.arbiter)
	}
	return out
}

// anyDown says whether a brick of the plan, or the arbiter's, was seen not to run.
func (s *State) anyDown(b blueprint) bool {
	down := func(h *head) bool { return h != nil && h.reached && h.running != service.Yes }
	return down(s.voting(b.known)) || slices.ContainsFunc(s.oldBricks(b), func(name string) bool { return down(s.head(name)) })
}

func (s *State) contentsHost(b blueprint, mounts []string) string {
	for _, name := range append([]string{b.cli}, b.pool...) {
		for _, m := range mounts {
			if m == name {
				return name
			}
		}
	}
	return ""
}

func (s *State) notes(b blueprint, intent service.Intent) []string {
	var out []string
	for _, h := range s.heads {
		if !h.reached && intent.Includes(h.name) {
			out = append(out, h.name+" is left as it is: "+h.why)
		}
	}
	if b.known == nil && len(b.skipped) > 0 {
		out = append(out, "The heal queue is not waited for: "+strings.Join(b.skipped, ", ")+" cannot take its part.")
	}
	if b.notYet != "" {
		out = append(out, fmt.Sprintf("%s does not get its arbiter's brick now: %s.", s.voter, b.notYet))
	}
	if b.unforced != "" && s.anyDown(b) {
		out = append(out, "No brick is started by force: "+b.unforced+".")
	}
	if len(b.grow) > 0 {
		out = append(out, fmt.Sprintf("Everything on the volume is copied to %s while it stays in use; until that has ended nothing more is safe than before.", strings.Join(b.grow, ", ")))
	}
	if b.known != nil {
		out = append(out, s.strangers(b.known)...)
	}
	return append(out, "Compute nodes do not mount the volume: slurmd does not need it.")
}

// strangers names bricks on machines that are not in the file.
func (s *State) strangers(v *volume) []string {
	var out []string
	for _, b := range v.Bricks {
		known := strings.HasSuffix(b.Path, forming)
		for _, h := range s.hosts() {
			known = known || h.brick && s.own(h) == b
		}
		if !known {
			out = append(out, fmt.Sprintf("The volume also has a brick %s:%s, which the file does not name. It counts in the quorum; gluster volume remove-brick takes it out.", b.Host, b.Path))
		}
	}
	return out
}

// The unit that stops the bricks of a head in time, and what is changed about
// glusterd's own.
const (
	bricksUnit = "multihead-bricks.service"
	dropinPath = unitDir + "glusterd.service.d/multihead.conf"

	// Debian's unit ends all bricks when glusterd ends, and starts it again
	// after a minute. glusterd is not on the data's path: its crash need not
	// be anybody's outage.
	dropinText = `# Managed by multihead; changes are overwritten.
[Unit]
StartLimitIntervalSec=60
StartLimitBurst=20

[Service]
KillMode=process
Restart=on-failure
RestartSec=1
`
	// A head that is shut down in order takes its bricks off while the
	// network is still there, so that no client has to wait for the
	// ping-timeout.
	bricksText = `# Managed by multihead; changes are overwritten.
[Unit]
Description=GlusterFS bricks, stopped before the network goes
After=network-online.target glusterd.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
ExecStop=/bin/sh -c 'for f in /run/gluster/vols/*/*.pid /run/gluster/shd/*/*.pid; do [ -s "$f" ] && kill "$(cat "$f")"; done; exit 0'

[Install]
WantedBy=multi-user.target
`
)

// install brings one head to where it can be in the pool and mount.
func (s *State) install(h *head, b blueprint) ([]plan.Step, error) {
	out := []plan.Step{{ID: "glusterfs.packages", Host: h.name, Action: plan.Packages{Names: []string{"glusterfs-client"}}}}
	if h.brick {
		out = s.installBrick(h)
	}
	var servers []string
	for _, other := range s.bricks() {
		servers = append(servers, other.addr.String())
	}
	files, err := mountFiles(h.name, glusterMount(s.conf.VolumeName, s.conf.MountPoint, h.addr.String(), servers))
	return append(out, files...), err
}

// installBrick brings one host to where it can have a brick.
func (s *State) installBrick(h *head) []plan.Step {
	packages := []string{"glusterfs-server", "glusterfs-client", "attr"}
	step := func(id string, a plan.Action) plan.Step {
		return plan.Step{ID: "glusterfs." + id, Host: h.name, Action: a}
	}
	return []plan.Step{
		step("packages", plan.Packages{Names: packages}),
		step("unit", plan.File{Path: dropinPath, Data: []byte(dropinText), Attr: root}),
		step("bricks-unit", plan.File{Path: unitDir + bricksUnit, Data: []byte(bricksText), Attr: root}),
		step("reload", reload{unit: "glusterd.service", files: []string{dropinPath}}),
		step("daemon", firstStart{plan.Running("glusterd.service")}),
		step("bricks", plan.Running(bricksUnit)),
		step("brick", brickDir{Dir: plan.Dir{Path: s.conf.BrickPath, Attr: host.Attr{Mode: 0o755, Owner: "root", Group: "root"}},
			volume: s.conf.VolumeName, brick: s.own(h), own: s.ownNames()}),
	}
}

// mount mounts the volume on each head and waits until it serves there.
func (s *State) mount(names []string) []plan.Step {
	var out []plan.Step
	for _, name := range names {
		out = append(out, mountSteps(name, s.conf.MountPoint)...)
	}
	return out
}

// ownNames are the paths that multihead itself makes on the volume.
func (s *State) ownNames() []string {
	out := []string{Marker}
	for _, d := range s.dirs {
		out = append(out, d.path)
	}
	return out
}

// contents puts the marker and the directories onto the volume, through the
// mount of one head.
func (s *State) contents(name string) []plan.Step {
	out := []plan.Step{{ID: "glusterfs.marker", Host: name, Action: onVolume{mount: s.conf.MountPoint,
		inner: markerFile{path: path.Join(s.conf.MountPoint, Marker), volume: s.conf.VolumeName}}}}
	for _, d := range s.dirs {
		out = append(out, plan.Step{ID: "glusterfs.dir." + strings.ReplaceAll(d.path, "/", "."), Host: name,
			Action: onVolume{mount: s.conf.MountPoint, inner: d.on(s.conf.MountPoint)}})
	}
	return out
}
