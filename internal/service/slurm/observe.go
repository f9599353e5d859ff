package slurm

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/service"
)

// lookTime bounds what one host is asked, all questions together. A volume
// that hangs costs no more than this.
const lookTime = 3 * time.Second

// State is what was found, and what the file wants.
type State struct {
	cluster *config.Cluster
	heads   []head // those with slurm, in the order of SlurmctldHost, then the rest
	nodes   []node
	cluWide clusterLook
	work    work   // of the compute nodes that are to leave
	stamp   string // names what this run keeps aside
}

// common is what every host shows.
type common struct {
	name    string
	reached bool
	why     string
	reader  host.Reader
	pkg     packageNames
	units   map[string]string // unit → ActiveState
}

// head is one head with Slurm.
type head struct {
	common
	controller bool // runs slurmctld
	stores     bool // runs slurmdbd
	index      int  // of its SlurmctldHost line
	conf       []byte
	listens    service.Answer // slurmctld takes connections
	hangs      string         // what shows that slurmctld runs and does nothing; empty where nothing does
	dbd        service.Answer // slurmdbd takes connections
	ctldPast   past           // where it does not run
	dbdPast    past           // where it does not run
	mounted    service.Answer // the volume is, where slurmctld does not run
	marked     service.Answer // the marker is in the state directory, where slurmctld does not run
	state      stateDir
	oldState   stateDir // where the slurm.conf that is there has its state, if elsewhere
}

// node is one compute node.
type node struct {
	common
	spec     config.ComputeNode
	ownConf  bool           // has a slurm.conf of its own, and is no head
	cgroups  service.Answer // Slurm's cgroup plugins can work
	whyNot   string
	hardware config.Hardware
}

// clusterLook is what the controller in charge says, asked once.
type clusterLook struct {
	asked string // the head it was asked on
	nodes *nodeCounts
	why   string
}

// Observe looks at every head with Slurm and every compute node at once.
func (*Service) Observe(ctx context.Context, in service.Input) (service.State, error) {
	s := &State{cluster: in.Cluster, stamp: in.Stamp}
	controllers := in.Cluster.SlurmControllers()
	for _, n := range in.HeadsWith(config.Slurm) {
		h := head{common: commonOf(n)}
		h.index = slices.IndexFunc(controllers, func(c config.Controller) bool { return c.Hostname == h.name })
		h.controller = h.index >= 0
		h.stores = s.dbdPlace(h) >= 0
		s.heads = append(s.heads, h)
	}
	slices.SortStableFunc(s.heads, func(a, b head) int { return order(a) - order(b) })
	specs := in.Cluster.AllComputes()
	for _, n := range in.Computes {
		c := node{common: commonOf(n)}
		if i := slices.IndexFunc(specs, func(x config.ComputeNode) bool { return x.Hostname == c.name }); i >= 0 {
			c.spec = specs[i]
		}
		s.nodes = append(s.nodes, c)
	}
	var g errgroup.Group
	for i := range s.heads {
		if h := &s.heads[i]; h.reached {
			g.Go(func() error { h.observe(ctx, in.Cluster, in.Brief); return nil })
		}
	}
	for i := range s.nodes {
		if n := &s.nodes[i]; n.reached {
			isHead := slices.ContainsFunc(s.heads, func(h head) bool { return h.name == n.name })
			g.Go(func() error { n.observe(ctx, isHead); return nil })
		}
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if !in.Brief {
		s.askController(ctx)
	}
	if len(in.LeavingComputes) > 0 {
		s.askWork(ctx, in.LeavingComputes)
	}
	return s, nil
}

func order(h head) int {
	if h.index < 0 {
		return 1 << 20
	}
	return h.index
}

func commonOf(n service.Node) common {
	c := common{name: n.Name(), reached: n.Reached(), reader: n.Reader}
	if n.Err != nil {
		c.why = n.Err.Error()
	}
	return c
}

// lost turns a host that stopped answering half-way into one that was not
// reached.
func (c *common) lost(err error) {
	c.reached, c.why = false, err.Error()
}

func (c *common) observe(ctx context.Context, units ...string) error {
	release, err := c.reader.ReadFile(ctx, "/etc/os-release")
	if err != nil {
		return err
	}
	c.pkg = familyOf(release)
	c.units, err = host.UnitStates(ctx, c.reader, units...)
	return err
}

// idle says whether a head that is to run slurmctld alone does just that. Then
// systemd need not be asked about slurmdbd.
func (h *head) idle(ctx context.Context) bool {
	has := host.RunningUnits(ctx, h.reader, ctldUnit, dbdUnit)
	return has[ctldUnit] && !has[dbdUnit]
}

func (h *head) observe(ctx context.Context, c *config.Cluster, brief bool) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	units := []string{ctldUnit, dbdUnit}
	idle := !h.stores && h.idle(ctx)
	if idle {
		units = units[:1]
	}
	if err := h.common.observe(ctx, units...); err != nil {
		h.lost(err)
		return
	}
	if idle {
		h.units[dbdUnit] = "inactive"
	}
	conf, err := h.reader.ReadFile(ctx, path.Join(c.Slurm.ConfigPath, "slurm.conf"))
	if errors.Is(err, fs.ErrNotExist) {
		conf, err = h.reader.ReadFile(ctx, path.Join(confDir, "slurm.conf"))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		h.lost(err)
		return
	}
	h.conf = conf
	h.listens = answers(ctx, h.reader, h.units[ctldUnit], ctldPort)
	h.dbd = answers(ctx, h.reader, h.units[dbdUnit], c.Slurm.Accounting.StoragePort)
	h.state = lookState(ctx, h.reader, c.Slurm.StateSaveLocation, brief)
	if h.controller {
		h.alive(ctx, brief)
		if !brief {
			h.past(ctx, c)
		}
	}
	if old := settings(conf)["statesavelocation"]; old != "" && path.Clean(old) != path.Clean(c.Slurm.StateSaveLocation) {
		h.oldState = lookState(ctx, h.reader, old, brief)
	}
}

// answers says whether a daemon takes connections. One that systemd says does
// not run does not; one that runs and cannot be asked is unknown.
func answers(ctx context.Context, r host.Reader, state string, port int) service.Answer {
	if !running(state) {
		return service.No
	}
	conn, err := r.Dial(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(port))
	switch {
	case err == nil:
		_ = conn.Close()
		return service.Yes
	case ctx.Err() != nil:
		return service.Unsure
	}
	return service.No // refused: it starts, or has stopped listening
}

func running(state string) bool {
	return state == "active" || state == "reloading" || state == "deactivating"
}

func (n *node) observe(ctx context.Context, isHead bool) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	if err := n.common.observe(ctx, nodeUnit); err != nil {
		n.lost(err)
		return
	}
	_, err := n.reader.Stat(ctx, path.Join(confDir, "slurm.conf"))
	n.ownConf = err == nil && !isHead
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		n.lost(err)
		return
	}
	n.cgroups, n.whyNot = lookCgroups(ctx, n.reader)
	if n.hardware, err = lookHardware(ctx, n.reader, n.spec.Hardware); err != nil {
		n.lost(err)
	}
}

// needed is the cgroup controllers without which Slurm's cgroup plugins do not
// start.
var needed = []string{"cpu", "cpuset", "memory"}

// lookCgroups says whether Slurm's cgroup plugins can work: with the unified
// hierarchy its root must offer the controllers; with the old one they must be
// mounted. A machine that splits its controllers between the two has neither.
func lookCgroups(ctx context.Context, r host.Reader) (service.Answer, string) {
	data, err := r.ReadFile(ctx, "/sys/fs/cgroup/cgroup.controllers")
	if err == nil {
		return cgroup2Offers(string(data))
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return service.Unsure, err.Error()
	}
	for _, c := range append([]string{"freezer"}, needed...) {
		if _, err := r.Stat(ctx, "/sys/fs/cgroup/"+c); errors.Is(err, fs.ErrNotExist) {
			return service.No, "the cgroup controller " + c + " is not mounted"
		} else if err != nil {
			return service.Unsure, err.Error()
		}
	}
	return service.Yes, ""
}

func cgroup2Offers(controllers string) (service.Answer, string) {
	have := strings.Fields(controllers)
	for _, c := range needed {
		if !slices.Contains(have, c) {
			return service.No, "its cgroup hierarchy does not offer the controller " + c
		}
	}
	return service.Yes, ""
}

// askController asks the controller in charge for its nodes, on one head that
// has a running controller: the one in charge where that is known.
func (s *State) askController(ctx context.Context) {
	i := s.active()
	if i < 0 {
		i = slices.IndexFunc(s.heads, func(h head) bool { return h.reached && h.listens == service.Yes })
	}
	if i < 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	s.cluWide.asked = s.heads[i].name
	out, err := s.heads[i].reader.Query(ctx, "sinfo", "--Node", "--noheader", "--format=%N %T")
	if err != nil {
		s.cluWide.why = err.Error()
		return
	}
	counts := parseNodes(out)
	s.cluWide.nodes = &counts
}
