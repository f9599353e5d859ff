package gluster

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"

	"multihead/internal/config"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// plain is shared storage that is not ours to form: an NFS export, which is
// mounted, or a directory that is mounted already, which is only checked.
type plain struct {
	kind    string // config.StorageNFS or config.StorageExisting
	dir     string
	nfs     config.NFS
	dirs    []directory
	mounted []plainHead // in the file's order
}

type plainHead struct {
	name    string
	reached bool
	why     string
	is      service.Answer // something is mounted there
	source  string
	answers service.Answer
	hides   []string
}

var _ service.State = (*plain)(nil)

func observePlain(ctx context.Context, in service.Input) *plain {
	c := in.Cluster
	p := &plain{kind: c.SharedStorage.Type, dir: c.SharedMount(), nfs: c.SharedStorage.NFS}
	if p.kind == config.StorageNFS {
		p.dirs = directories(c)
	}
	p.mounted = make([]plainHead, len(in.Heads))
	var g errgroup.Group
	for i, n := range in.Heads {
		g.Go(func() error {
			p.mounted[i] = p.look(ctx, n)
			return nil
		})
	}
	_ = g.Wait() // what a head does not answer is part of what was found
	return p
}

func (p *plain) look(ctx context.Context, n service.Node) plainHead {
	h := plainHead{name: n.Name(), reached: n.Reached()}
	if !h.reached {
		h.why = "not reached"
		if n.Err != nil {
			h.why = n.Err.Error()
		}
		return h
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	table, err := readMounts(ctx, n.Reader)
	if err != nil {
		h.why = err.Error()
		return h
	}
	m, ok := table.at(p.dir)
	if !ok {
		h.is = service.No
		list, _ := readDir(ctx, n.Reader, p.dir)
		for _, f := range list {
			h.hides = append(h.hides, f.Name)
		}
		return h
	}
	h.is, h.source = service.Yes, m.Source
	if _, err := n.Reader.Stat(ctx, p.dir); err != nil {
		h.why = err.Error() // hard NFS blocks for ever where the server is gone
		return h
	}
	h.answers = service.Yes
	return h
}

func (p *plain) source() string { return p.nfs.Server + ":" + p.nfs.Export }

// Plan implements service.State.
func (p *plain) Plan(intent service.Intent) (plan.Phase, error) {
	ph := plan.Phase{Name: "glusterfs"}
	for _, h := range p.mounted {
		if !intent.Includes(h.name) {
			continue
		}
		if !h.reached {
			ph.Notes = append(ph.Notes, h.name+" is left as it is: "+h.why)
			continue
		}
		if err := p.check(h); err != nil {
			return ph, err
		}
	}
	if p.kind == config.StorageExisting {
		ph.Notes = append(ph.Notes, p.dir+" is taken as it is mounted; multihead neither mounts nor watches what is behind it.")
		return ph, nil
	}
	var install, mount, contents plan.Stage
	install.Name, mount.Name, contents.Name = "install", "mount", "contents"
	for _, h := range p.mounted {
		if !h.reached || !intent.Includes(h.name) {
			continue
		}
		files, err := mountFiles(h.name, p.conf())
		if err != nil {
			return ph, err
		}
		install.Steps = append(install.Steps, plan.Step{ID: "glusterfs.packages", Host: h.name, Action: plan.Packages{Names: []string{"nfs-common"}}})
		install.Steps = append(install.Steps, files...)
		steps := mountSteps(h.name, p.dir)
		mount.Steps = append(mount.Steps, steps[1:]...) // there is no client process that could have died
		if len(contents.Steps) == 0 {
			for _, d := range p.dirs {
				contents.Steps = append(contents.Steps, plan.Step{ID: "glusterfs.dir." + strings.ReplaceAll(d.path, "/", "."), Host: h.name,
					Action: onVolume{mount: p.dir, inner: d.on(p.dir)}})
			}
		}
	}
	ph.Stages = []plan.Stage{install, mount, contents}
	return ph, nil
}

func (p *plain) conf() mountConf {
	options := p.nfs.Options
	if options == "" {
		// hard: a write that was taken is never dropped while the server is
		// away; it waits.
		options = "_netdev,hard,noatime"
	}
	return mountConf{What: p.source(), Where: p.dir, Type: "nfs", Options: options, Description: "Shared storage " + p.source()}
}

func (p *plain) check(h plainHead) error {
	refuse := func(reason, remedy string) error {
		return &service.Refusal{Service: "glusterfs", Reason: reason, Remedy: remedy}
	}
	switch {
	case h.is == service.Unsure:
		return refuse(fmt.Sprintf("what is mounted on %s is not known: %s", h.name, h.why), "Look at /proc/self/mountinfo there.")
	case h.is == service.Yes && h.answers != service.Yes:
		return refuse(fmt.Sprintf("%s on %s is mounted and does not answer: %s", p.dir, h.name, h.why), "Bring the server of "+h.source+" back first.")
	case p.kind == config.StorageExisting && h.is == service.No:
		return refuse(fmt.Sprintf("nothing is mounted on %s on %s", p.dir, h.name),
			"Mount the shared storage there on every head, also at boot, or use shared_storage.type glusterfs or nfs.")
	case p.kind == config.StorageNFS && h.is == service.Yes && h.source != p.source():
		return refuse(fmt.Sprintf("%s on %s has something else mounted: %s", p.dir, h.name, h.source),
			"Unmount it, or set shared_storage.nfs.mount_point to another directory.")
	case p.kind == config.StorageNFS && h.is == service.No && len(h.hides) > 0:
		return refuse(fmt.Sprintf("%s on %s is not mounted and holds %s: mounting would hide that", p.dir, h.name, strings.Join(h.hides, ", ")),
			"Move it away on "+h.name+".")
	}
	return nil
}

// Stop implements service.State.
func (p *plain) Stop(intent service.Intent) (plan.Phase, error) {
	ph := plan.Phase{Name: "glusterfs"}
	if p.kind == config.StorageExisting {
		ph.Notes = []string{p.dir + " stays mounted: multihead did not mount it."}
		return ph, nil
	}
	st := plan.Stage{Name: "unmount"}
	for _, h := range p.mounted {
		if h.reached && intent.Includes(h.name) {
			st.Steps = append(st.Steps, noRetry(h.name), plan.Step{ID: "glusterfs.unmount", Host: h.name, Action: unmounted{dir: p.dir, unit: mountUnit(p.dir)}})
		}
	}
	ph.Stages = []plan.Stage{st}
	return ph, nil
}

// Health implements service.State.
func (p *plain) Health() service.Health {
	out := service.Health{Service: "glusterfs", State: service.Up, Nodes: map[string]service.NodeHealth{}}
	good := 0
	for _, h := range p.mounted {
		nh := service.NodeHealth{State: service.Up, Role: "client", Facts: map[string]any{"mounted": h.answers == service.Yes}}
		switch {
		case !h.reached || h.is == service.Unsure:
			nh.State, nh.Reason = service.Unknown, h.why
		case h.is == service.No:
			nh.State, nh.Reason = service.Down, "nothing is mounted on "+p.dir
		case h.answers != service.Yes:
			nh.State, nh.Reason = service.Down, p.dir+" does not answer: "+h.why
		default:
			good++
		}
		if nh.State != service.Up {
			out.State = service.Degraded
			out.Reason = strings.TrimPrefix(out.Reason+"; "+h.name+": "+nh.Reason, "; ")
		}
		out.Nodes[h.name] = nh
	}
	if good == 0 {
		out.State = service.Down
	}
	out.Summary = fmt.Sprintf("%s mounted on %d/%d heads", p.dir, good, len(p.mounted))
	return out
}

// Survival implements service.State.
func (p *plain) Survival() service.Survival {
	n := max(len(p.mounted)-1, 0)
	return service.Survival{Service: "glusterfs", AtOnce: n, InTurn: n,
		Why:      "the storage is on other machines; what they can lose is not known here",
		RaisedBy: "shared_storage.type glusterfs, which keeps a copy on every head"}
}
