package drill

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"multihead/internal/config"
	"multihead/internal/drill/clients"
	"multihead/internal/host"
	"multihead/internal/service/agentd"
)

// jobName begins the names of all jobs that drills submit.
const jobName = "multihead-drill"

// setUp makes what the workloads need and starts them.
func (r *run) setUp(ctx context.Context) error {
	c := r.env.File
	vip := c.Network.VIP.Address.String()
	spec := clients.Spec{VIP: &clients.VIPSpec{Address: net.JoinHostPort(vip, strconv.Itoa(agentd.Port)), Heads: map[string]string{}}}
	what := []string{clients.VIP}
	for _, h := range c.Nodes.Controllers {
		spec.VIP.Heads[h.Hostname] = h.Address.String()
	}
	if len(c.HeadsWith(config.MariaDB)) > 0 {
		from, err := r.clientAddress(ctx)
		if err != nil {
			return err
		}
		if err := r.makeDatabase(ctx, from); err != nil {
			return err
		}
		spec.SQL = r.sql.spec(vip)
		what = append(what, clients.SQL)
	}
	if s := r.redisSpec(); s != nil {
		spec.Redis = s
		what = append(what, clients.Redis)
	}
	if r.env.Client != "" && len(c.HeadsWith(config.Slurm)) > 0 {
		spec.Sbatch = &clients.SbatchSpec{Name: jobName + "-" + r.id, Long: strconv.Itoa(int(runLimit.Seconds()))}
		what = append(what, clients.Sbatch)
	}
	if err := r.startWorker(ctx, r.env.Client, spec, what...); err != nil {
		return err
	}
	return r.startVolume(ctx)
}

// clientAddress is where the database sees the workloads come from.
func (r *run) clientAddress(ctx context.Context) (string, error) {
	for _, n := range r.env.File.AllComputes() {
		if n.Hostname == r.env.Client && n.Address.IsValid() {
			return n.Address.String(), nil
		}
	}
	// The address that this machine has towards the heads.
	first := r.env.File.Nodes.Controllers[0].Address.String()                          // no heads, no database
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", net.JoinHostPort(first, "9")) // sends nothing
	if err != nil {
		return "", err
	}
	defer conn.Close()
	host, _, err := net.SplitHostPort(conn.LocalAddr().String())
	return host, err
}

// redisSpec is how Redis is reached, nil where there is none or only one server.
func (r *run) redisSpec() *clients.RedisSpec {
	c := r.env.File
	s := &clients.RedisSpec{Password: c.Redis.Cluster.Password.Reveal()}
	if c.RedisMode() != config.RedisCluster {
		return nil
	}
	for _, h := range c.HeadsWith(config.Redis) {
		s.Addresses = append(s.Addresses, net.JoinHostPort(h.Address.String(), strconv.Itoa(c.Redis.Cluster.Port)))
	}
	return s
}

// volumeDir is where the volume workload writes.
func (r *run) volumeDir() string { return path.Join(r.env.File.SharedMount(), Name) }

// startVolume starts the appends on a head that mounts the volume and that
// nothing is done to. Compute nodes do not mount it.
func (r *run) startVolume(ctx context.Context) error {
	name := r.survivor(config.GlusterFS)
	if name == "" {
		return nil
	}
	h, ok := r.env.Host(name)
	if !ok {
		return fmt.Errorf("%s is not reached", name)
	}
	if err := h.Mkdir(ctx, r.volumeDir(), host.Attr{Mode: 0o700}); err != nil {
		return fmt.Errorf("make %s: %w", r.volumeDir(), err)
	}
	if err := sweep(ctx, h, r.volumeDir()); err != nil {
		return fmt.Errorf("remove what an earlier drill left: %w", err)
	}
	r.res.VolumeOn = name
	return r.append(ctx, name, r.id+"-"+name)
}

// append begins to append lines to a file of the volume.
func (r *run) append(ctx context.Context, name, file string) error {
	err := r.startWorker(ctx, name, clients.Spec{Volume: &clients.VolumeSpec{Dir: r.volumeDir(), File: file}}, clients.Volume)
	if err == nil {
		r.volume = append(r.volume, appended{file, r.parts[len(r.parts)-1]})
	}
	return err
}

// volumeAgain goes on with the appends, to another file, where the head that made
// them lost its power as all others did. The volume has to be mounted there.
func (r *run) volumeAgain(ctx context.Context) {
	if len(r.volume) == 0 || !r.volume[len(r.volume)-1].by.gone() {
		return
	}
	name := r.res.VolumeOn
	if err := r.append(ctx, name, fmt.Sprintf("%s-%s.%d", r.id, name, len(r.volume))); err != nil {
		r.event("note", err.Error())
	}
}

// runFile is a name that startVolume gives.
var runFile = regexp.MustCompile(`^[0-9]{14}-[A-Za-z0-9.-]+$`)

// sweep removes the files of drills that were killed.
func sweep(ctx context.Context, h host.Host, dir string) error {
	list, err := h.ReadDir(ctx, dir)
	if err != nil {
		return err
	}
	for _, f := range list {
		if f.Mode.IsRegular() && runFile.MatchString(f.Name) {
			if err := h.Remove(ctx, path.Join(dir, f.Name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// cleanUp removes what the run made, and nothing else.
func (r *run) cleanUp(ctx context.Context) error {
	var errs []error
	if r.sql != nil {
		db, err := r.anyRoot(ctx)
		if err == nil {
			err = dropOurs(ctx, db)
			_ = db.Close()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("drop the database %s: %w", Name, err))
		}
	}
	errs = append(errs, r.cleanVolume(ctx), r.cleanJobs(ctx), r.cleanRedis(ctx))
	return errors.Join(errs...)
}

// cleanVolume removes the run's files, and the directory where it is empty then.
func (r *run) cleanVolume(ctx context.Context) error {
	if len(r.volume) == 0 {
		return nil
	}
	h, err := r.anyHead(config.GlusterFS)
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range r.volume {
		errs = append(errs, h.Remove(ctx, path.Join(r.volumeDir(), f.file)))
	}
	left, err := h.ReadDir(ctx, r.volumeDir())
	if err == nil && len(left) == 0 {
		err = h.Remove(ctx, r.volumeDir())
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// anyHead is a head with a service that is reached.
func (r *run) anyHead(name string) (host.Host, error) {
	heads := r.env.File.HeadsWith(name)
	// One that nothing was done to, if there is one.
	slices.SortStableFunc(heads, func(a, b config.Controller) int {
		return boolInt(slices.Contains(r.res.Victims, a.Hostname)) - boolInt(slices.Contains(r.res.Victims, b.Hostname))
	})
	for _, c := range heads {
		if h, ok := r.env.Host(c.Hostname); ok {
			return h, nil
		}
	}
	return nil, fmt.Errorf("no head with %s is reached", name)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// cleanJobs cancels the run's jobs that have not ended: the long one, and those
// that still wait.
func (r *run) cleanJobs(ctx context.Context) error {
	if !slices.Contains(r.workloads(), clients.Sbatch) {
		return nil
	}
	h, err := r.anyHead(config.Slurm)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	out, err := h.Query(ctx, "squeue", "--noheader", "--format=%i|%j")
	if err != nil {
		return err
	}
	words := []string{"scancel"}
	for line := range strings.Lines(out) {
		id, name, _ := strings.Cut(strings.TrimSpace(line), "|")
		if strings.HasPrefix(name, r.jobPrefix()) {
			words = append(words, id)
		}
	}
	if len(words) > 1 {
		_, err = h.Run(ctx, host.Command(words...))
	}
	// What Slurm drained meanwhile is for a person to look at; in a lab there is
	// nobody, and the next run needs the node.
	if len(r.drained) > 0 && r.env.Outside != nil {
		r.event("note", "resuming "+strings.Join(r.drained, ","))
		_, rerr := h.Run(ctx, host.Command("scontrol", "update", "NodeName="+strings.Join(r.drained, ","), "State=RESUME"))
		err = errors.Join(err, rerr)
	}
	return err
}
