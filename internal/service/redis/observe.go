package redis

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

	"golang.org/x/sync/errgroup"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/service"
)

// Service is Redis: a Redis Cluster on three heads or more, a master with
// replicas and sentinels on two, one server on one.
type Service struct{}

// New returns the service.
func New() *Service { return &Service{} }

// Name is "redis".
func (*Service) Name() string { return config.Redis }

// After is the base: names, clocks, packages.
func (*Service) After() []string { return []string{"prepare"} }

// lookLimit bounds what one host is asked in all.
const lookLimit = 4 * time.Second

// Observe asks every head's servers and every sentinel, all at once.
func (*Service) Observe(ctx context.Context, in service.Input) (service.State, error) {
	s := &State{wanted: wantedOf(in.Cluster)}
	nodes := in.HeadsWith(config.Redis)
	if !in.Cluster.Redis.Enabled {
		nodes = nil
	}
	s.heads = make([]head, len(nodes))
	s.witnesses = make([]voter, len(in.Witnesses))
	password := s.wanted.conf.Password.Reveal()
	var g errgroup.Group
	for i, n := range nodes {
		g.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, lookLimit)
			defer cancel()
			s.heads[i] = observeHead(ctx, n, s.wanted, password, in.Brief)
			return nil
		})
	}
	for i, n := range in.Witnesses {
		g.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, lookLimit)
			defer cancel()
			s.witnesses[i] = observeVoter(ctx, n, s.wanted.port, password)
			return nil
		})
	}
	_ = g.Wait() // what went wrong is part of what was found
	return s, nil
}

func wantedOf(c *config.Cluster) wanted {
	w := wanted{mode: Mode(c.RedisMode()), kind: c.Redis.Type, port: c.Redis.Cluster.Port,
		replicas: c.Redis.Cluster.Replicas, conf: c.Redis.Cluster, memoryMB: map[string]int{}}
	for _, h := range c.Nodes.Controllers {
		w.memoryMB[h.Hostname] = h.Hardware.MemoryMB
	}
	return w
}

func whyNot(n service.Node) string {
	if n.Err != nil {
		return n.Err.Error()
	}
	return "it was not asked"
}

func observeHead(ctx context.Context, n service.Node, w wanted, password string, brief bool) head {
	h := head{name: n.Name(), addr: n.Spec.Address, reached: n.Reached(), dead: n.Dead}
	// The servers of a cluster are looked at on any number of heads: a file
	// that lost heads still has to see the cluster that is there.
	asCluster := w
	asCluster.mode = modeCluster
	list := asCluster.instances(h.name, h.addr)
	h.servers = make([]server, len(list))
	for i := range list {
		h.servers[i] = server{at: list[i]}
	}
	if !h.reached {
		h.err = whyNot(n)
		h.voter = voter{name: h.name, addr: h.addr, why: h.err}
		return h
	}
	var g errgroup.Group
	for i := range h.servers {
		g.Go(func() error {
			h.servers[i] = observeServer(ctx, n.Reader, list[i], password)
			if sv := &h.servers[i]; sv.answer == absent && sv.managed && !brief {
				sv.startable = lookStartable(ctx, n.Reader, sv.at.unit())
			}
			return nil
		})
	}
	g.Go(func() error {
		h.voter = observeVoter(ctx, n, w.port, password)
		return nil
	})
	var conf []host.FileInfo
	g.Go(func() (err error) {
		conf, err = n.Reader.ReadDir(ctx, confRoot)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return err
	})
	if err := g.Wait(); err != nil {
		h.reached, h.err = false, err.Error()
	}
	h.other = otherPorts(conf, list)
	return h
}

var settingsName = regexp.MustCompile(`^multihead-(\d+)\.conf$`)

// otherPorts finds servers that multihead set up on ports that are not wanted.
func otherPorts(conf []host.FileInfo, list []instance) []int {
	var out []int
	for _, f := range conf {
		m := settingsName.FindStringSubmatch(f.Name)
		if m == nil {
			continue
		}
		port, err := strconv.Atoi(m[1])
		if err == nil && !slices.ContainsFunc(list, func(i instance) bool { return i.Port == port }) {
			out = append(out, port)
		}
	}
	return out
}

// reach asks on the loopback address first: it works whatever network the
// server was told to listen on, and shows no stranger's server. One that was
// told to listen on the head's address alone is found there.
func reach(ctx context.Context, r host.Reader, i instance, password string) (*conn, error) {
	c, err := connect(ctx, r, i.local(), password)
	if err != nil && refused(err) {
		return connect(ctx, r, i.addr(), password)
	}
	return c, err
}

func observeServer(ctx context.Context, r host.Reader, i instance, password string) server {
	s := server{at: i}
	if _, err := r.Stat(ctx, i.StateFile()); err == nil {
		s.managed = true
	} else if !errors.Is(err, fs.ErrNotExist) {
		s.why = err.Error()
		return s
	}
	out, err := askServer(ctx, r, i, password)
	switch {
	case err == nil:
	case refused(err):
		s.answer = absent
		s.disk = lookDisk(ctx, r, i)
		return s
	default:
		s.silent(ctx, r, err)
		return s
	}
	s = s.read(out)
	if s.answer == loading && s.ours {
		s.disk = lookDisk(ctx, r, i)
	}
	return s
}

// silent takes in that it gave no answer.
func (s *server) silent(ctx context.Context, r host.Reader, err error) {
	if s.why = hung(err); s.why == timedOut && s.managed && frozen(ctx, r, s.at.unit()) {
		s.why, s.hung = "it is stopped by a signal (SIGSTOP)", true
	}
}

const timedOut = "it takes the connection and does not answer"

// hung puts a connection's error into words.
func hung(err error) string {
	var ne net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &ne) && ne.Timeout() {
		return timedOut
	}
	return err.Error()
}

// read takes in the answers to INFO, CLUSTER INFO, CLUSTER NODES, CONFIG GET.
func (s server) read(out []any) server {
	txt, err := text(out[0])
	if err != nil {
		s.why = err.Error()
		return s
	}
	s.info = parseInfo(txt)
	if s.info["redis_version"] == "" || s.info["redis_mode"] == "sentinel" {
		s.why = "what answers is no Redis server"
		return s
	}
	s.version = s.info["redis_version"]
	s.ours = s.info["config_file"] == s.at.StateFile()
	if s.info["loading"] == "1" {
		s.answer, s.why = loading, "it is still loading its data"
		return s
	}
	if s.clustr = s.info["cluster_enabled"] == "1"; s.clustr {
		summary, err1 := text(out[1])
		lines, err2 := text(out[2])
		nodes, err3 := parseNodes(lines)
		if err := errors.Join(err1, err2, err3); err != nil {
			s.why = err.Error()
			return s
		}
		s.summary, s.nodes = parseInfo(summary), nodes
	}
	if conf, err := pairs(out[3]); err == nil {
		s.dir = conf["dir"]
	}
	s.answer = running
	return s
}

// lookDisk sees what a server that does not run left behind. It says no only
// where it saw that there is nothing.
func lookDisk(ctx context.Context, r host.Reader, i instance) disk {
	var d disk
	fail := func(err error) disk { return disk{why: err.Error(), log: d.log} }
	var err error
	if d.log, err = lookSetting(ctx, r, i); err != nil {
		return fail(err)
	}
	if b, err := r.ReadFile(ctx, path.Join(i.dir(), i.nodeFile())); err == nil {
		if d.nodes, err = parseNodes(string(b)); err != nil {
			return fail(fmt.Errorf("%s: %w", i.nodeFile(), err))
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fail(err)
	}
	if b, err := r.ReadFile(ctx, i.StateFile()); err == nil {
		d.replicaOf = replicaOf(string(b))
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fail(err)
	}
	log, err := lookLog(ctx, r, path.Join(i.dir(), "appendonlydir"))
	if err != nil {
		return fail(err)
	}
	snap, err := lookSnapshot(ctx, r, path.Join(i.dir(), "dump.rdb"))
	if err != nil {
		return fail(err)
	}
	d.data, d.replID = service.No, snap.ReplID
	d.rdb, d.manifest = snap.found, log.manifest
	d.snapshot = snap.found && !snap.Empty && !log.manifest
	switch {
	case log.keys:
		d.data, d.why = service.Yes, "keys in "+path.Join(i.dir(), "appendonlydir")
	case snap.found && !snap.Empty:
		d.data, d.why = service.Yes, "keys in "+path.Join(i.dir(), "dump.rdb")
	}
	return d
}

// logSeen is an append-only directory. Files without a manifest are not read: those of
// a server that ended before it had written everything into them.
type logSeen struct{ manifest, keys bool }

// lookLog sees whether an append-only directory has keys: a log that is not
// empty, or a base with something behind its header.
func lookLog(ctx context.Context, r host.Reader, dir string) (logSeen, error) {
	files, err := r.ReadDir(ctx, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return logSeen{}, nil
	}
	if err != nil {
		return logSeen{}, err
	}
	var seen logSeen
	for _, f := range files {
		switch {
		case strings.HasPrefix(f.Name, "temp-"):
		case strings.HasSuffix(f.Name, ".manifest"):
			seen.manifest = true
		case strings.HasSuffix(f.Name, ".base.rdb"):
			s, err := lookSnapshot(ctx, r, path.Join(dir, f.Name))
			if err != nil {
				return seen, err
			}
			seen.keys = seen.keys || !s.Empty
		default:
			seen.keys = seen.keys || f.Size > 0
		}
	}
	return seen, nil
}

type snapshotSeen struct {
	rdbHead
	found bool
}

// smallSnapshot is the size up to which a snapshot may be without keys: one
// that is has about 100 bytes.
const smallSnapshot = 4096

func lookSnapshot(ctx context.Context, r host.Reader, file string) (snapshotSeen, error) {
	info, err := r.Stat(ctx, file)
	if errors.Is(err, fs.ErrNotExist) {
		return snapshotSeen{rdbHead: rdbHead{Empty: true}}, nil
	}
	if err != nil || info.Size > smallSnapshot {
		return snapshotSeen{found: true}, err
	}
	b, err := r.ReadFile(ctx, file)
	if err != nil {
		return snapshotSeen{found: true}, err
	}
	h, err := peekRDB(b)
	if err != nil && len(b) > 0 {
		return snapshotSeen{found: true}, fmt.Errorf("%s: %w", file, err)
	}
	h.Empty = h.Empty || len(b) == 0
	return snapshotSeen{h, true}, nil
}

// replicaOf finds the master that a server's own file names.
func replicaOf(conf string) string {
	out := ""
	for line := range strings.Lines(conf) {
		if w := strings.Fields(line); len(w) == 3 && (strings.EqualFold(w[0], "replicaof") || strings.EqualFold(w[0], "slaveof")) {
			out = joinAddr(w[1], w[2])
		}
	}
	return out
}

// observeVoter asks a sentinel what it holds for the truth.
func observeVoter(ctx context.Context, n service.Node, port int, password string) voter {
	v := voter{name: n.Name(), addr: n.Spec.Address, reached: n.Reached()}
	if !v.reached {
		v.why = whyNot(n)
		return v
	}
	at := net.JoinHostPort("127.0.0.1", strconv.Itoa(sentinelPort(port)))
	silent := func(err error) voter {
		if v.why = hung(err); v.why == timedOut {
			v.hung = frozen(ctx, n.Reader, sentinelUnit(sentinelPort(port)))
		}
		return v
	}
	c, err := connect(ctx, n.Reader, at, password)
	if err != nil {
		if refused(err) {
			v.answer = absent
			return v
		}
		return silent(err)
	}
	defer c.close()
	out, err := c.pipe(askLimit, []string{"SENTINEL", "MASTER", sentinelGroup}, []string{"SENTINEL", "REPLICAS", sentinelGroup})
	if err != nil {
		return silent(err)
	}
	master, err := pairs(out[0])
	if err != nil {
		v.why = err.Error()
		return v
	}
	v.answer = running
	v.master, v.down = joinAddr(master["ip"], master["port"]), master["flags"] != "master"
	v.others = info(master).number("num-other-sentinels")
	v.copies(out[1])
	return v
}

// copies reads the answer to SENTINEL REPLICAS.
func (v *voter) copies(answer any) {
	list, ok := answer.([]any)
	if !ok {
		return
	}
	for _, e := range list {
		p, err := pairs(e)
		if err != nil {
			continue
		}
		at := joinAddr(p["ip"], p["port"])
		v.replicas = append(v.replicas, at)
		if strings.Contains(p["flags"], "s_down") {
			v.lost = append(v.lost, at)
		}
	}
}
