package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"multihead/internal/config"
	"multihead/internal/service"
	"multihead/internal/service/agentd"
	"multihead/internal/service/slurm"
)

// What node add and node remove do for hosts that are no heads.

// kindOfHost is what a host is to the cluster, as --kind has it.
type kindOfHost string

const (
	kindHead    kindOfHost = "head"
	kindCompute kindOfHost = "compute"
	kindWitness kindOfHost = "witness"
)

// String is what a person calls it.
func (k kindOfHost) String() string {
	if k == kindCompute {
		return "compute node"
	}
	return string(k)
}

// kindNamed is --kind.
func kindNamed(text string) (kindOfHost, error) {
	switch k := kindOfHost(text); k {
	case kindHead, kindCompute, kindWitness:
		return k, nil
	}
	return "", usageError(fmt.Errorf("--kind %s: write head, compute or witness", text))
}

// phases are those that a host of the kind coming or leaving has anything to do with;
// none means all.
func (k kindOfHost) phases() []string {
	switch k {
	case kindCompute:
		return []string{"prepare", config.Slurm, agentd.Name}
	case kindWitness:
		return []string{"prepare", config.MariaDB, config.Redis, agentd.Name}
	}
	return nil
}

// kindsOf is everything that the file has the host as.
func kindsOf(c *config.Cluster, name string) []kindOfHost {
	var out []kindOfHost
	if _, ok := c.Head(name); ok {
		out = append(out, kindHead)
	}
	if slices.ContainsFunc(c.AllComputes(), func(n config.ComputeNode) bool { return n.Hostname == name }) {
		out = append(out, kindCompute)
	}
	if slices.ContainsFunc(c.Witnesses, func(w config.Witness) bool { return w.Hostname == name }) {
		out = append(out, kindWitness)
	}
	return out
}

// commonKind is what all the hosts are, or are said to be. A head that is a compute
// node as well is a head unless that was said.
func commonKind(c *config.Cluster, said string, names []string) (kindOfHost, error) {
	var kind kindOfHost
	for _, name := range names {
		is := kindsOf(c, name)
		if len(is) == 0 {
			var all []string
			for _, h := range c.AllHosts() {
				all = append(all, h.Hostname)
			}
			return "", usageError(fmt.Errorf("%s is no host of the cluster file, which has %s; if it has just been taken out, multihead up finishes that", name, inWords(all)))
		}
		k := is[0]
		if said != "" {
			var err error
			if k, err = kindNamed(said); err != nil {
				return "", err
			}
			if !slices.Contains(is, k) {
				return "", usageError(fmt.Errorf("%s is no %s in the cluster file, but a %s", name, k, is[0]))
			}
		}
		if kind != "" && k != kind {
			return "", usageError(fmt.Errorf("%s is a %s and %s a %s: take them out one kind after the other", names[0], kind, name, k))
		}
		kind = k
	}
	return kind, nil
}

// changeOther writes a compute node or a witness into the file. One that is there as
// it was asked for is left as it is: an earlier run was cut off. A compute node that is
// there joins the partitions that are named, as a head's services are switched on.
func (f *addFlags) changeOther(ctx context.Context, a *app, kind kindOfHost, d *config.Document, c *config.Cluster) error {
	there, err := f.thereAlready(c, kind)
	if err != nil {
		return err
	}
	if there {
		if err := f.asItIs(c, kind); err != nil || len(f.partitions) == 0 {
			return err
		}
		if err := d.JoinPartitions(c, f.name, f.partitions); err != nil {
			return usageError(err)
		}
		return nil
	}
	spec, err := hostSpec(f.name, f.ip)
	if err != nil {
		return err
	}
	f.spec.Hostname, f.spec.Address = spec.Hostname, spec.Address
	if kind == kindWitness {
		return d.AddWitness(c.NextWitness(f.spec))
	}
	if len(c.HeadsWith(config.Slurm)) == 0 {
		return usageError(errors.New("no head runs slurm, which a compute node takes its jobs from"))
	}
	n := c.NextCompute(f.spec)
	if n.Hardware, err = parseHardware(f.hardware); err != nil {
		return err
	}
	if n.Hardware.CPUs == 0 || n.Hardware.MemoryMB == 0 {
		found, err := a.askHardware(ctx, c, f.reach, n.HostSpec)
		if err != nil {
			return err
		}
		n.Hardware = slurm.Fill(n.Hardware, found)
	}
	if err := d.AddCompute(c, n, f.partitions); err != nil {
		return usageError(err)
	}
	return nil
}

// thereAlready says whether the file has the host as that already, and refuses one
// that has the name or the address as something else.
func (f *addFlags) thereAlready(c *config.Cluster, kind kindOfHost) (bool, error) {
	for _, h := range c.AllHosts() {
		is := kindsOf(c, h.Hostname)
		switch {
		case h.Hostname != f.name && h.Address.String() != f.ip:
		case h.Hostname == f.name && slices.Contains(is, kind) && (f.ip == "" || h.Address.String() == f.ip):
			return true, nil
		case h.Hostname == f.name && slices.Contains(is, kind):
			return false, usageError(fmt.Errorf("%s is in the file with the address %s: take it out first, with multihead node remove %s", f.name, h.Address, f.name))
		case h.Hostname == f.name && h.Address.String() == f.ip && is[0] == kindHead && kind == kindCompute:
			// A head may run jobs as well.
		default:
			return false, usageError(fmt.Errorf("%s (%s) is in the file already, as a %s", h.Hostname, h.Address, is[0]))
		}
	}
	return false, nil
}

// asItIs refuses words about a host of the file that say something else than the file:
// adding changes nothing about a host but its partitions.
func (f *addFlags) asItIs(c *config.Cluster, kind kindOfHost) error {
	var has config.ComputeNode
	if kind == kindWitness {
		i := slices.IndexFunc(c.Witnesses, func(w config.Witness) bool { return w.Hostname == f.name })
		has.HostSpec = c.Witnesses[i].HostSpec
	} else {
		all := c.AllComputes()
		has = all[slices.IndexFunc(all, func(n config.ComputeNode) bool { return n.Hostname == f.name })]
	}
	said, err := parseHardware(f.hardware)
	if err != nil {
		return err
	}
	differs := func(key string, said, has any) error {
		if reflect.ValueOf(said).IsZero() || reflect.DeepEqual(said, has) {
			return nil
		}
		return usageError(fmt.Errorf("%s is in the file already, with %s %v and not %v: change it in the file, then run multihead up", f.name, key, has, said))
	}
	one, other := said, has.Hardware
	return errors.Join(
		differs("ssh_user", f.spec.SSHUser, has.SSHUser), differs("ssh_port", f.spec.SSHPort, has.SSHPort), differs("ssh_key_path", f.spec.SSHKeyPath, has.SSHKeyPath),
		differs("cpus", one.CPUs, other.CPUs), differs("sockets", one.Sockets, other.Sockets), differs("cores_per_socket", one.CoresPerSocket, other.CoresPerSocket),
		differs("threads_per_core", one.ThreadsPerCore, other.ThreadsPerCore), differs("memory_mb", one.MemoryMB, other.MemoryMB), differs("tmp_disk_mb", one.TmpDiskMB, other.TmpDiskMB),
		differs("gpus", one.GPUs, other.GPUs), differs("gpu_type", one.GPUType, other.GPUType),
		differs("gres", one.GRES, other.GRES), differs("features", one.Features, other.Features))
}

// askHardware asks a host that is not in the file yet what it has.
func (a *app) askHardware(ctx context.Context, c *config.Cluster, r reach, spec config.HostSpec) (config.Hardware, error) {
	r.lookOnly = true
	look, err := a.open(ctx, c, []config.HostSpec{spec}, r)
	if err != nil {
		return config.Hardware{}, err
	}
	defer look.close()
	h := look.view.Hosts[spec.Hostname]
	if h == nil {
		return config.Hardware{}, a.unreached(spec.Hostname, look.view.Errs[spec.Hostname])
	}
	hw, err := slurm.AskHardware(ctx, h)
	if err != nil {
		return hw, fmt.Errorf("%s: %w", a.tr("nothing was changed"), err)
	}
	return hw, nil
}

func (a *app) unreached(name string, cause error) error {
	return &exitError{exitFailed, fmt.Errorf("%s: "+a.tr("%s was not reached: %w"), a.tr("nothing was changed"), name, cause)}
}

// parseHardware reads --hardware key=value, with the keys of the cluster file.
func parseHardware(words []string) (config.Hardware, error) {
	var hw config.Hardware
	numbers := map[string]*int{"cpus": &hw.CPUs, "sockets": &hw.Sockets, "cores_per_socket": &hw.CoresPerSocket,
		"threads_per_core": &hw.ThreadsPerCore, "memory_mb": &hw.MemoryMB, "tmp_disk_mb": &hw.TmpDiskMB, "gpus": &hw.GPUs}
	for _, w := range words {
		key, value, ok := strings.Cut(w, "=")
		p := numbers[key]
		switch {
		case !ok || value == "":
			return hw, usageError(fmt.Errorf("--hardware %s: write it as cpus=8", w))
		case p != nil:
			n, err := strconv.Atoi(value)
			if err != nil || n < 0 {
				return hw, usageError(fmt.Errorf("--hardware %s: %q is no number", w, value))
			}
			*p = n
		case key == "gpu_type":
			hw.GPUType = value
		case key == "gres":
			hw.GRES = strings.Split(value, ",")
		case key == "features":
			hw.Features = strings.Split(value, ",")
		default:
			return hw, usageError(fmt.Errorf("--hardware %s: the keys are cpus, sockets, cores_per_socket, threads_per_core, memory_mb, tmp_disk_mb, gpus, gpu_type, gres and features", w))
		}
	}
	return hw, nil
}

// dropOther takes compute nodes or witnesses out of the file.
func dropOther(d *config.Document, kind kindOfHost, names []string) error {
	for _, name := range names {
		c, err := d.Cluster()
		switch {
		case err != nil:
		case kind == kindWitness:
			err = d.DropWitness(name)
		default:
			err = d.DropCompute(c, name)
		}
		if err != nil {
			return &exitError{exitFailed, fmt.Errorf("nothing was changed: %w", err)}
		}
	}
	return nil
}

// waitTick is how often the controller is asked what still runs.
const waitTick = 5 * time.Second

// awaitWork keeps new work off the compute nodes that leave, and waits until what
// they have is done. It holds no lock meanwhile: that may take days, in which agents
// recover what fails and other people work.
func (a *app) awaitWork(ctx context.Context, run *upRun, e *edited, limit time.Duration) error {
	left, err := workOf(run)
	if err != nil || len(left) == 0 {
		return err
	}
	drain := *run
	drain.intent.Drain = true
	if err := a.propose(ctx, &drain); err != nil {
		return err
	}
	if !drain.prop.Empty() {
		if err := a.lock(ctx, &drain); err != nil {
			return err
		}
		if err := a.apply(ctx, &drain); err != nil {
			return err
		}
	}
	// The lock ends with the connections.
	run.sess.close()
	fresh, err := a.open(ctx, run.sess.file, run.sess.specs, run.flags.reach)
	if err != nil {
		return err
	}
	run.sess = fresh
	if err := a.untilDone(ctx, run, limit); err != nil {
		return err
	}
	if err := a.stillTheFile(run, e); err != nil {
		return err
	}
	if err := a.idle(ctx, run); err != nil {
		return err
	}
	return a.propose(ctx, run)
}

// untilDone asks until nothing is left, or the time is up.
func (a *app) untilDone(ctx context.Context, run *upRun, limit time.Duration) error {
	// Nothing is half done while it waits, so that Ctrl-C may end it at once.
	ctx, release := signal.NotifyContext(ctx, os.Interrupt)
	defer release()
	deadline, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(waitTick)
	defer tick.Stop()
	said := ""
	for {
		left, err := a.askWork(ctx, run)
		now := strings.Join(left, ", ")
		if err != nil && ctx.Err() == nil {
			now = err.Error()
		}
		if err == nil && len(left) == 0 {
			return nil
		}
		if now != said {
			fmt.Fprintf(a.stderr, a.tr("Waiting for: %s\n"), now)
			said = now
		}
		select {
		case <-deadline.Done():
			hint := a.drainedStill(run)
			if ctx.Err() != nil {
				return &exitError{exitInterrupted, fmt.Errorf("%s\n%s", a.tr("interrupted while it waited"), hint)}
			}
			return &exitError{exitFailed, fmt.Errorf(a.tr("after %s there is still: %s")+"\n%s", limit, now, hint)}
		case <-tick.C:
		}
	}
}

// drainedStill says how the nodes are that do not leave after all, and what goes on.
func (a *app) drainedStill(run *upRun) string {
	return fmt.Sprintf(a.tr("%s: no new jobs are taken there; the same command goes on. To take it back: scontrol update nodename=%[1]s state=resume"),
		strings.Join(run.intent.LeavingComputes, ","))
}

// stillTheFile ends the run where somebody else has changed the file while it waited:
// what is planned is of the file before, and so is what would be written in the end.
func (a *app) stillTheFile(run *upRun, e *edited) error {
	if err := e.stands(a); err != nil {
		return &exitError{exitCode(err), fmt.Errorf("%w\n%s", err, a.drainedStill(run))}
	}
	return nil
}

// askWork looks again, over connections made anew where they broke.
func (a *app) askWork(ctx context.Context, run *upRun) ([]string, error) {
	if err := run.sess.reach(ctx); err != nil {
		return nil, err
	}
	run.aboutLeaving()
	if err := run.sess.observe(ctx, []service.Service{slurm.New()}); err != nil {
		return nil, err
	}
	return workOf(run)
}

// aboutLeaving has the services asked what the hosts that leave do.
func (run *upRun) aboutLeaving() {
	run.sess.view.Input.LeavingComputes = run.intent.LeavingComputes
	run.sess.view.Proven(run.proofs)
}

// workOf is what still runs on the compute nodes that leave.
func workOf(run *upRun) ([]string, error) {
	w, ok := run.sess.view.States[config.Slurm].(service.Worker)
	if !ok {
		return nil, errors.New("nobody said what runs there")
	}
	return w.Work()
}
