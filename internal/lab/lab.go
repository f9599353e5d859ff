package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Lab is one lab on this machine. It holds no state of its own beyond what
// was asked for: what runs is always looked up.
type Lab struct {
	Spec Spec
	Made time.Time

	base     string
	image    Image
	hosts    []*Host
	progress func(Event)
}

// Host is one host of a lab.
type Host struct {
	HostPlan
	lab *Lab
}

// meta is what a lab's directory says about it.
type meta struct {
	Spec  Spec      `json:"spec"`
	Image string    `json:"image_key"`
	Made  time.Time `json:"made"`
}

// Up makes the lab that spec describes and waits until every host answers,
// building the image first if the cache lacks it. A lab that is there is
// completed: missing hosts are added, hosts that are off are booted, and what
// runs is left alone. progress (may be nil) hears what happens on the way.
func Up(ctx context.Context, spec Spec, progress func(Event)) (*Lab, error) {
	if err := Ready(); err != nil {
		return nil, err
	}
	spec, err := spec.withDefaults()
	if err != nil {
		return nil, err
	}
	image, err := BuildImage(ctx, spec.Image, progress)
	if err != nil {
		return nil, err
	}
	// The hosts' own directories have to be readable by their daemons, whatever
	// the person's umask is; secrets get their modes one by one.
	defer unix.Umask(unix.Umask(0o022))
	l := &Lab{Spec: spec, base: Dir(), image: image, progress: progress}
	err = l.locked(ctx, func() error { return l.up(ctx) })
	if err != nil {
		return nil, err
	}
	return l, nil
}

func (l *Lab) up(ctx context.Context) error {
	if old, err := Open(l.Spec.Name); err == nil {
		if l.Spec, err = l.Spec.grow(old.Spec); err != nil {
			return err
		}
		l.Made, l.image = old.Made, old.image
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if l.Made.IsZero() {
		l.Made = time.Now().UTC()
	}
	l.setHosts()
	// Written before anything is made, so that down knows of it.
	if err := os.MkdirAll(l.path(), 0o755); err != nil {
		return err
	}
	if err := writeJSON(l.metaPath(), meta{l.Spec, l.image.Key, l.Made}); err != nil {
		return err
	}
	if err := raiseLimits(l.progress); err != nil {
		return err
	}
	if err := l.ensureNetwork(ctx); err != nil {
		return err
	}
	if err := l.ensureSecrets(); err != nil {
		return err
	}
	for _, h := range l.hosts {
		if err := h.ensureHostKeys(); err != nil {
			return err
		}
	}
	if err := l.writeKnownHosts(); err != nil {
		return err
	}
	if err := l.ensureClusterFile(); err != nil {
		return err
	}
	if err := l.ensureFenceDevice(ctx); err != nil {
		return err
	}
	return l.each(nil, func(h *Host) error { return h.powerOn(ctx) })
}

func (l *Lab) setHosts() {
	l.hosts = nil
	for _, p := range l.Spec.hosts() {
		l.hosts = append(l.hosts, &Host{HostPlan: p, lab: l})
	}
}

// Open finds a lab that Up made. The error of one that is not there wraps
// fs.ErrNotExist.
func Open(name string) (*Lab, error) {
	if name == "" {
		name = DefaultName
	}
	if err := checkName(name); err != nil {
		return nil, err
	}
	l := &Lab{Spec: Spec{Name: name}, base: Dir()}
	data, err := os.ReadFile(l.metaPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no lab %q (multihead lab up --name %s makes one): %w", name, name, fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	var m meta
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("%s: %w (multihead lab down --name %s removes the lab)", l.metaPath(), err, name)
	}
	l.Spec, l.Made = m.Spec, m.Made
	l.image, err = readImage(filepath.Join(imagesDir(l.base), m.Image))
	if err != nil {
		return nil, fmt.Errorf("the image of the lab %q: %w (multihead lab down --name %s removes the lab)", name, err, name)
	}
	l.setHosts()
	return l, nil
}

// Names lists the labs that are on this machine, whole or not.
func Names() ([]string, error) {
	entries, err := os.ReadDir(labsDir(Dir()))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && checkName(e.Name()) == nil {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Watch sends what happens from now on to progress.
func (l *Lab) Watch(progress func(Event)) { l.progress = progress }

// Hosts lists the lab's hosts in the order of the address plan.
func (l *Lab) Hosts() []*Host { return slices.Clone(l.hosts) }

// Host finds a host by its name.
func (l *Lab) Host(name string) (*Host, error) {
	for _, h := range l.hosts {
		if h.Name == name {
			return h, nil
		}
	}
	var have []string
	for _, h := range l.hosts {
		have = append(have, h.Name)
	}
	return nil, fmt.Errorf("the lab %q has no host %q; it has %s", l.Spec.Name, name, strings.Join(have, " "))
}

// pick finds hosts by name, all of them when none is named.
func (l *Lab) pick(names []string) ([]*Host, error) {
	if len(names) == 0 {
		return l.hosts, nil
	}
	var hosts []*Host
	var errs []error
	for _, n := range names {
		h, err := l.Host(n)
		if err != nil {
			errs = append(errs, err)
		} else if !slices.Contains(hosts, h) {
			hosts = append(hosts, h)
		}
	}
	return hosts, errors.Join(errs...)
}

// locked runs f while no other process changes this lab.
func (l *Lab) locked(ctx context.Context, f func() error) error {
	if err := os.MkdirAll(labsDir(l.base), 0o755); err != nil {
		return err
	}
	unlock, err := lockFile(ctx, filepath.Join(labsDir(l.base), "."+l.Spec.Name+".lock"), func() {
		say(l.progress, "", "another process is changing the lab "+l.Spec.Name+", waiting for it")
	})
	if err != nil {
		return err
	}
	defer unlock()
	return f()
}
