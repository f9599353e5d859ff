package gluster

import (
	"fmt"
	"slices"
	"strings"

	"multihead/internal/service"
)

// Evidence is what each head with a brick shows, in the form that the common
// rule of forming, joining and resuming takes.
func (s *State) Evidence() []service.Evidence {
	var out []service.Evidence
	for _, h := range s.bricks() {
		out = append(out, s.evidenceOf(h))
	}
	return out
}

func (s *State) evidenceOf(h head) service.Evidence {
	e := service.Evidence{Node: h.name, Why: h.why}
	if !h.reached {
		return e
	}
	// A replica that was stopped, in order or by a power cut, starts again
	// from its own books: each brick knows what the others have missed. So
	// every start is a clean one and no brick is ahead of the others.
	e.Clean = service.Yes
	switch {
	case h.vol != nil:
		e.Cluster = h.vol.ID
	case h.dataID != "":
		e.Cluster = h.dataID
	}
	e.Live = s.liveness(h)
	switch {
	case h.vol != nil || h.data == service.Yes:
		e.Data = service.Yes
	case h.store == service.Unsure || h.data == service.Unsure:
		e.Data = service.Unsure
	default:
		e.Data = service.No
	}
	if e.Why == "" {
		e.Why = s.describe(h)
	}
	return e
}

// liveness says whether the head's brick serves the started volume.
func (s *State) liveness(h head) service.Answer {
	switch {
	case h.store == service.Unsure || h.running == service.Unsure || h.daemon == service.Unsure:
		return service.Unsure
	case h.vol == nil || h.vol.Status != volStarted || !h.vol.has(s.own(&h)):
		return service.No
	default:
		return h.running
	}
}

func (s *State) describe(h head) string {
	switch {
	case h.vol == nil && h.data == service.Yes:
		return fmt.Sprintf("%s is not empty", s.conf.BrickPath)
	case h.vol == nil:
		return "no volume and no data"
	case h.vol.Status != volStarted:
		return "the volume is stopped"
	case h.running == service.No:
		return "its brick does not run"
	default:
		return "its brick serves"
	}
}

// blueprint is what Plan builds its steps from: the decision and who takes
// part in what.
type blueprint struct {
	verdict service.Verdict
	cli     string   // head whose glusterd is given the commands
	pool    []string // heads that are to be in the pool and take part
	first   string   // the first brick's head, of a volume that is formed
	create  []string // heads whose bricks a new volume begins with
	grow    []string // heads whose bricks are added, one after the other
	skipped []string // heads with a brick of which nothing is known
	known   *volume  // the volume as it is; nil where it is to be formed

	arbiter string // witness that has the arbiter's brick, or gets it, and takes part
	vote    bool   // it gets it now, of a volume that exists
	dropped *brick // arbiter's brick that goes; nil where none does
	lost    bool   // it goes because nothing of it is left
	former  bool   // its directory was a brick of this volume before
	notYet  string // why the witness that is to have it does not get it now
	// unforced is why no brick may be started by force; empty where that may be.
	unforced string
}

// decide turns evidence and intent into what is to be done, or refuses.
func (s *State) decide(intent service.Intent) (blueprint, error) {
	if err := s.unsafeBricks(intent); err != nil {
		return blueprint{}, err
	}
	d, err := service.Decide("glusterfs", s.Evidence(), intent)
	if err != nil {
		return blueprint{}, err
	}
	b := blueprint{verdict: d.Verdict, skipped: d.Skipped}
	known := append([]string{d.First}, append(slices.Clone(d.Members), d.Joiners...)...)
	for _, h := range s.bricks() {
		member := slices.Contains(d.Members, h.name)
		if slices.Contains(known, h.name) && (member || intent.Includes(h.name)) {
			b.pool = append(b.pool, h.name)
		}
	}
	if len(b.pool) == 0 {
		return b, nil // the plan was limited to hosts without a brick
	}
	if d.Verdict == service.Form {
		b.first = b.pool[0]
		b.cli, b.create = b.first, b.pool
		if err := s.arbitrate(&b, intent); err != nil {
			return b, err
		}
		return b, s.countFits(len(b.pool))
	}
	return s.around(b, d, intent)
}

// around completes the blueprint for a volume that exists.
func (s *State) around(b blueprint, d service.Decision, intent service.Intent) (blueprint, error) {
	for _, name := range append(slices.Clone(d.Members), b.pool...) {
		h := s.head(name)
		if h.vol == nil || h.daemon == service.Unsure {
			continue
		}
		// One that answers is better than one that has yet to be started.
		if b.cli == "" || h.daemon == service.Yes && s.head(b.cli).daemon != service.Yes {
			b.cli = name
		}
		if b.known == nil {
			b.known = h.vol
		}
	}
	if b.known == nil {
		return b, &service.Refusal{Service: "glusterfs",
			Reason: fmt.Sprintf("%s holds data, and no reached head knows a volume %s", strings.Join(b.pool, ", "), s.conf.VolumeName),
			Remedy: "If this is an old brick, move it aside by hand. If the volume's configuration was lost, restore /var/lib/glusterd from a backup."}
	}
	if err := s.emptied(b.known); err != nil {
		return b, err
	}
	for _, name := range b.pool {
		if err := s.fits(&b, s.head(name)); err != nil {
			return b, err
		}
	}
	if len(b.grow) > 0 {
		if err := s.canGrow(b); err != nil {
			return b, err
		}
	}
	if err := s.arbitrate(&b, intent); err != nil {
		return b, err
	}
	if b.unforced == "" {
		// Whoever has a head brought up has its brick started, whoever stopped it.
		b.unforced = s.held(s.head(b.cli), b.known, intent, func(h *head) bool { return !intent.Includes(h.name) })
	}
	return b, s.countFits(s.copies(b.known) + len(b.grow))
}

// emptied refuses where the volume counts on a brick whose directory is not there, or has
// no mark of the volume: its disk is not mounted, or was replaced, or something was
// copied there. glusterd rightly leaves such a brick down, and one that is started by
// force is marked as if it held all there is. Making the directory and starting the volume by force would turn
// an empty directory, on the root disk perhaps, into a brick that the others
// take for a copy; and force acts on the bricks of every head, so all of them are
// looked at, whichever the plan is for.
func (s *State) emptied(v *volume) error {
	for _, h := range s.bricks() {
		if !h.reached || h.vol == nil || !v.has(s.own(&h)) || h.running == service.Yes {
			continue
		}
		found := s.hollow(&h, v)
		if found == "" {
			continue
		}
		return &service.Refusal{Service: "glusterfs",
			Reason: fmt.Sprintf("%s has a brick of volume %s, and there %s: its disk is not mounted, or was replaced", h.name, s.conf.VolumeName, found),
			Remedy: s.unmarked(&h) + "Mount the disk on " + h.name + " and run up again. If the disk is lost, the other heads hold the data: on one of them run " +
				s.removal(v, &h) + ", then up brings the brick in anew."}
	}
	return nil
}

// unmarked is what is to be tried first where a brick has files and no mark that could be
// read.
func (s *State) unmarked(h *head) string {
	if h.data != service.Yes || h.dataID != "" {
		return ""
	}
	return fmt.Sprintf("On %s look at getfattr -n trusted.glusterfs.volume-id -e hex %s (package attr): where it shows the mark, run up again. ", h.name, s.conf.BrickPath)
}

// fits sees whether a head has its brick in the volume, can be given one, or
// contradicts it.
func (s *State) fits(b *blueprint, h *head) error {
	if b.known.has(s.own(h)) {
		if h.vol == nil && h.store != service.Unsure {
			return &service.Refusal{Service: "glusterfs",
				Reason: fmt.Sprintf("the volume counts on a brick on %s, but glusterd there knows nothing of it: the head was installed anew", h.name),
				Remedy: fmt.Sprintf("The other heads hold the data. On one of them run: %s, then gluster peer detach %s force; up then brings the head in anew.",
					s.removal(b.known, h), h.addr)}
		}
		return nil
	}
	if err := s.mayJoin(h, b.known); err != nil {
		return err
	}
	b.grow = append(b.grow, h.name)
	return nil
}

// removal is what a person runs to take a brick out. Only what has no arbiter beside
// it can be taken out.
func (s *State) removal(v *volume, h *head) string {
	remove := func(copies int, at string) string {
		return fmt.Sprintf("gluster volume remove-brick %s replica %d %s force", s.conf.VolumeName, max(copies, 1), at)
	}
	at := v.arbiterBrick()
	if at == nil {
		return remove(len(v.Bricks)-1, s.brickOf(h))
	}
	return remove(s.copies(v), at.Host+":"+s.conf.BrickPath) + ", which is the arbiter's (once gluster volume heal " + s.conf.VolumeName +
		" info shows nothing for the other copy), then " + remove(s.copies(v)-1, s.brickOf(h))
}

// mayJoin refuses to add the brick of a host that has something else there. With no
// volume yet there is none that it could be part of.
func (s *State) mayJoin(h *head, v *volume) error {
	// A directory marked with this volume's identity is one that a run which
	// was cut off is still adding, as a rule; adding it again tells.
	if h.data == service.Yes && (v == nil || h.dataID != v.ID) {
		return &service.Refusal{Service: "glusterfs",
			Reason: fmt.Sprintf("%s on %s is not empty and is no brick of %s", s.conf.BrickPath, h.name, s.conf.VolumeName),
			Remedy: "Move it aside by hand on " + h.name + ", then run up again."}
	}
	for _, p := range h.peers {
		if !s.isOurs(p) {
			return &service.Refusal{Service: "glusterfs",
				Reason: fmt.Sprintf("%s is in a pool with %s, which is none of the heads", h.name, strings.Join(p.Names, " or ")),
				Remedy: "Detach it there (gluster peer detach), then run up again."}
		}
	}
	return nil
}

func (s *State) isOurs(p peer) bool {
	for _, h := range s.hosts() {
		if p.named(h.addr.String()) || p.named(h.name) || p.UUID != "" && p.UUID == h.uuid {
			return true
		}
	}
	return false
}

// canGrow says what keeps a brick from being added. All bricks there are have
// to serve: the new copy is made from them, and glusterd wants them all up.
func (s *State) canGrow(b blueprint) error {
	for _, name := range b.skipped {
		return &service.Refusal{Service: "glusterfs",
			Reason: fmt.Sprintf("a brick cannot be added for %s while %s is not known (%s)", strings.Join(b.grow, ", "), name, s.head(name).why),
			Remedy: "Bring " + name + " back first, or take it out of the cluster, then run up again."}
	}
	for _, h := range s.bricks() {
		if h.splits > 0 {
			return &service.Refusal{Service: "glusterfs",
				Reason: fmt.Sprintf("a brick cannot be added for %s while %d files are in split-brain: the new copy of them could not be completed", strings.Join(b.grow, ", "), h.splits),
				Remedy: "Look at them with: multihead status, and gluster volume heal " + s.conf.VolumeName + " info split-brain, say for each which copy is the right one, then run up again."}
		}
	}
	single := len(b.known.Bricks) == 1
	if single && b.known.Options[shdOption] != "off" && b.known.Status == volStarted {
		return &service.Refusal{Service: "glusterfs",
			Reason: "the volume has one brick and was not made by multihead: files that are replaced in the seconds while a second brick is added would be in split-brain for good",
			Remedy: "Stop what uses the volume, run: gluster volume stop " + s.conf.VolumeName + ", and add the brick by hand; or move the data to a volume made by multihead."}
	}
	return nil
}

// unsafeBricks refuses brick paths that are no place for data.
func (s *State) unsafeBricks(intent service.Intent) error {
	for _, h := range s.bricks() {
		if !h.reached || !intent.Includes(h.name) || h.vol != nil && h.vol.has(s.own(&h)) {
			continue
		}
		switch {
		case h.onRoot:
			return &service.Refusal{Service: "glusterfs",
				Reason: fmt.Sprintf("%s on %s lies on the root file system: data that fills it would stop the head itself", s.conf.BrickPath, h.name),
				Remedy: "Mount a file system of its own (XFS or ext4) there or above it, or set shared_storage.glusterfs.brick_path to a directory on one."}
		case h.isMount:
			return &service.Refusal{Service: "glusterfs",
				Reason: fmt.Sprintf("%s on %s is itself a mount point: were it ever not mounted, the brick would be an empty directory on the disk below", s.conf.BrickPath, h.name),
				Remedy: "Set shared_storage.glusterfs.brick_path to a directory below it, such as " + s.conf.BrickPath + "/brick."}
		}
	}
	for _, h := range s.heads {
		if h.reached && intent.Includes(h.name) && h.mounted == service.No && len(h.hides) > 0 {
			return &service.Refusal{Service: "glusterfs",
				Reason: fmt.Sprintf("%s on %s is not mounted and holds %s: mounting the volume would hide that", s.conf.MountPoint, h.name, strings.Join(h.hides, ", ")),
				Remedy: "Move it away on " + h.name + "; it was written there while the volume was not mounted."}
		}
		if h.reached && intent.Includes(h.name) && h.mounted == service.Yes && !strings.HasSuffix(h.source, ":/"+s.conf.VolumeName) && !strings.HasSuffix(h.source, ":"+s.conf.VolumeName) {
			return &service.Refusal{Service: "glusterfs",
				Reason: fmt.Sprintf("%s on %s has something else mounted: %s", s.conf.MountPoint, h.name, h.source),
				Remedy: "Unmount it, or set shared_storage.glusterfs.mount_point to another directory."}
		}
	}
	return nil
}

// countFits compares the number of copies with a count that the file fixes.
func (s *State) countFits(n int) error {
	want := s.conf.ReplicaCount
	if want.Auto() || int(want) == n || len(s.bricks()) == int(want) {
		return nil
	}
	return &service.Refusal{Service: "glusterfs",
		Reason: fmt.Sprintf("replica_count is %s, and the volume would have %d copies: every head with glusterfs holds one", want, n),
		Remedy: "Set shared_storage.glusterfs.replica_count to auto, or switch glusterfs off on some heads."}
}
