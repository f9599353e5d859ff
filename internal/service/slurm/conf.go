package slurm

import (
	"bytes"
	"cmp"
	"embed"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"sort"
	"strings"
	"text/template"

	"multihead/internal/config"
	"multihead/internal/hostlist"
)

//go:embed *.tmpl
var templateFiles embed.FS

var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"yesno": func(b bool) string {
		if b {
			return "yes"
		}
		return "no"
	},
}).ParseFS(templateFiles, "*.tmpl"))

func render(name string, data any) ([]byte, error) {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name, data); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return b.Bytes(), nil
}

// clusterName is what Slurm calls the cluster: it allows no hyphen, and lower
// case only.
func clusterName(c *config.Cluster) string {
	return strings.ToLower(strings.ReplaceAll(c.Info.ClusterName, "-", "_"))
}

// found is what the rendering of the files takes from the hosts instead of the
// cluster file.
type found struct {
	cgroups  bool // Slurm's cgroup plugins work on every compute node
	hardware map[string]config.Hardware
}

// confData is what slurm.conf.tmpl reads.
type confData struct {
	ClusterName        string
	Controllers        []config.Controller
	User               string
	State, Spool, Logs string
	ReturnToService    int
	Scheduler          config.Scheduler
	DefMemPerCPU       int // MiB; 0 leaves it out
	Cgroups            bool
	GatherType         string
	GatherFreq         int
	Accounting         bool
	StorageHost        string
	StorageBackup      string
	StoragePort        int
	Enforce            config.Items
	Rest               []string
	GresTypes          []string
	Nodes, Partitions  []string
}

// accounts says whether jobs are accounted at all: that needs a database, or a
// slurmdbd of the site's own.
func accounts(c *config.Cluster) bool {
	a := c.Slurm.Accounting
	return a.Enabled && a.StorageType != "accounting_storage/none" && (external(c) || len(c.HeadsWith(config.MariaDB)) > 0)
}

// runsDBD says whether the controllers run slurmdbd.
func runsDBD(c *config.Cluster) bool { return accounts(c) && !external(c) }

// external says whether the file names a slurmdbd that is none of the heads'.
func external(c *config.Cluster) bool {
	h := c.Slurm.Accounting.StorageHost
	if a, err := netip.ParseAddr(h); h == "" || h == "localhost" || err == nil && a.IsLoopback() {
		return false
	}
	for _, head := range c.Nodes.Controllers {
		if h == head.Hostname || h == head.Address.String() {
			return false
		}
	}
	return h != c.Network.VIP.Address.String()
}

// slurmConf renders slurm.conf.
func slurmConf(c *config.Cluster, f found) ([]byte, error) {
	a := c.Slurm.Accounting
	d := confData{
		ClusterName: clusterName(c), Controllers: c.SlurmControllers(), User: c.Users.SlurmUser,
		State: c.Slurm.StateSaveLocation, Spool: c.Slurm.SpoolPath, Logs: c.Slurm.LogPath,
		ReturnToService: c.Slurm.Scheduler.ReturnToService, Scheduler: c.Slurm.Scheduler,
		Cgroups: f.cgroups, GatherType: gatherType(a.GatherType, f.cgroups), GatherFreq: a.GatherFreq,
		Accounting: accounts(c), StoragePort: a.StoragePort, Enforce: a.Enforce,
		Rest:      append(rest(a.Rest), rest(c.Slurm.Scheduler.Rest)...),
		GresTypes: gresTypes(c),
	}
	d.StorageHost, d.StorageBackup = storageHosts(c)
	for _, n := range c.AllComputes() {
		hw := n.Hardware
		if h, ok := f.hardware[n.Hostname]; ok {
			hw = fill(hw, h)
		}
		d.Nodes = append(d.Nodes, nodeLine(n, hw))
		if share := hw.MemoryMB / max(hw.CPUs, 1); share > 0 && (d.DefMemPerCPU == 0 || share < d.DefMemPerCPU) {
			d.DefMemPerCPU = share
		}
	}
	if !strings.Contains(strings.ToLower(d.Scheduler.SelectParameters.String()), "memory") ||
		slices.ContainsFunc(d.Rest, func(r string) bool { return strings.HasPrefix(r, "DefMemPer") }) {
		d.DefMemPerCPU = 0
	}
	for _, p := range c.Slurm.Partitions {
		d.Partitions = append(d.Partitions, partitionLine(p))
	}
	if len(d.Partitions) == 0 && len(d.Nodes) > 0 {
		d.Partitions = []string{"PartitionName=all Nodes=ALL Default=YES MaxTime=UNLIMITED State=UP"}
	}
	return render("slurm.conf.tmpl", d)
}

// DBDHosts is the controllers that run slurmdbd: the one that serves, and the
// one that stands by. Those with a database of their own come first. Slurm has
// one backup and no more, and measured: two that both serve do not know of each
// other's changes (an account added through one cannot be used through the
// other), because each keeps accounts in memory from its start on.
func DBDHosts(c *config.Cluster) []config.Controller {
	if !runsDBD(c) {
		return nil
	}
	heads := c.SlurmControllers()
	slices.SortStableFunc(heads, func(a, b config.Controller) int {
		return cmp.Compare(without(c, a), without(c, b))
	})
	return heads[:min(2, len(heads))]
}

// without is 1 for a head without a database.
func without(c *config.Cluster, h config.Controller) int {
	if c.Runs(h.Hostname, config.MariaDB) {
		return 0
	}
	return 1
}

// storageHosts is where accounting is asked for, and where else when that does
// not answer.
func storageHosts(c *config.Cluster) (host, backup string) {
	if external(c) {
		return c.Slurm.Accounting.StorageHost, ""
	}
	hosts := DBDHosts(c)
	if len(hosts) > 0 {
		host = hosts[0].Address.String()
	}
	if len(hosts) > 1 {
		backup = hosts[1].Address.String()
	}
	return host, backup
}

// gatherType is how the use of running jobs is measured. The cgroup plugin
// needs the cgroups that the tracking of processes needs.
func gatherType(asked string, cgroups bool) string {
	switch {
	case asked == "" && cgroups:
		return "jobacct_gather/cgroup"
	case asked == "", asked == "jobacct_gather/cgroup" && !cgroups:
		return "jobacct_gather/linux"
	}
	return asked
}

// rest is the settings of an open section that are Slurm's own by their
// spelling (PriorityWeightAge); others mean nothing to it.
func rest(r config.Rest) []string {
	var out []string
	for k, v := range r {
		if k != "" && k[0] >= 'A' && k[0] <= 'Z' {
			out = append(out, k+"="+v)
		}
	}
	sort.Strings(out)
	return out
}

// gres is the generic resources of a node as slurm.conf writes them.
func gres(hw config.Hardware) []string {
	out := slices.Clone([]string(hw.GRES))
	hasGPU := slices.ContainsFunc(out, func(g string) bool { return g == "gpu" || strings.HasPrefix(g, "gpu:") })
	if hw.GPUs > 0 && !hasGPU {
		g := "gpu"
		if hw.GPUType != "" {
			g += ":" + hw.GPUType
		}
		out = append(out, fmt.Sprintf("%s:%d", g, hw.GPUs))
	}
	return out
}

// gresTypes is every kind of generic resource, in order.
func gresTypes(c *config.Cluster) []string {
	var out []string
	for _, n := range c.AllComputes() {
		for _, g := range gres(n.Hardware) {
			kind, _, _ := strings.Cut(g, ":")
			if !slices.Contains(out, kind) {
				out = append(out, kind)
			}
		}
	}
	sort.Strings(out)
	return out
}

// fill takes from asked what the file leaves out.
func fill(hw, asked config.Hardware) config.Hardware {
	if hw.CPUs == 0 {
		hw.CPUs, hw.Sockets, hw.CoresPerSocket, hw.ThreadsPerCore = asked.CPUs, asked.Sockets, asked.CoresPerSocket, asked.ThreadsPerCore
	}
	if hw.MemoryMB == 0 {
		hw.MemoryMB = asked.MemoryMB
	}
	return hw
}

func nodeLine(n config.ComputeNode, hw config.Hardware) string {
	w := []string{"NodeName=" + n.Hostname, "NodeAddr=" + n.Address.String()}
	for _, f := range []struct {
		key   string
		value int
	}{
		{"CPUs", hw.CPUs}, {"Sockets", hw.Sockets}, {"CoresPerSocket", hw.CoresPerSocket},
		{"ThreadsPerCore", hw.ThreadsPerCore}, {"RealMemory", hw.MemoryMB}, {"TmpDisk", hw.TmpDiskMB},
	} {
		if f.value > 0 {
			w = append(w, fmt.Sprintf("%s=%d", f.key, f.value))
		}
	}
	if g := gres(hw); len(g) > 0 {
		w = append(w, "Gres="+strings.Join(g, ","))
	}
	features := slices.Clone([]string(hw.Features))
	if n.NodeType == "viz" && !slices.Contains(features, "viz") {
		features = append(features, "viz")
	}
	if len(features) > 0 {
		w = append(w, "Feature="+strings.Join(features, ","))
	}
	return strings.Join(append(w, "State=UNKNOWN"), " ")
}

func partitionLine(p config.Partition) string {
	w := []string{"PartitionName=" + p.Name}
	if p.Nodes.Auto() {
		w = append(w, "Nodes=ALL")
	} else {
		w = append(w, "Nodes="+hostlist.Compress(p.Nodes))
	}
	if p.Default {
		w = append(w, "Default=YES")
	}
	w = append(w, "MaxTime="+p.MaxTime)
	if !p.MaxNodes.Auto() {
		w = append(w, "MaxNodes="+p.MaxNodes.String())
	}
	if p.Exclusive {
		w = append(w, "OverSubscribe=EXCLUSIVE")
	}
	return strings.Join(append(w, "State="+p.State), " ")
}

// gresConf renders gres.conf: which devices the resources of each node are.
// Debian's Slurm cannot ask the GPUs themselves, so that they are named.
func gresConf(c *config.Cluster) []byte {
	var b bytes.Buffer
	b.WriteString("# Managed by multihead; changes are overwritten.\n")
	for _, n := range c.AllComputes() {
		first := 0
		for _, g := range gres(n.Hardware) {
			f := strings.Split(g, ":")
			line := "NodeName=" + n.Hostname + " Name=" + f[0]
			count := 1
			if k := len(f) - 1; k > 0 {
				if _, err := fmt.Sscanf(f[k], "%d", &count); err == nil {
					f = f[:k]
				}
			}
			if len(f) > 1 {
				line += " Type=" + f[1]
			}
			if f[0] == "gpu" {
				file := fmt.Sprintf("/dev/nvidia%d", first)
				if count > 1 {
					file = fmt.Sprintf("/dev/nvidia[%d-%d]", first, first+count-1)
				}
				first += count
				line += " File=" + file
			} else {
				line += fmt.Sprintf(" Count=%d", count)
			}
			b.WriteString(line + "\n")
		}
	}
	return b.Bytes()
}

// cgroupConf renders cgroup.conf for a version of Slurm.
func cgroupConf(c *config.Cluster, usable bool, version string) ([]byte, error) {
	return render("cgroup.conf.tmpl", struct {
		Usable, Old bool
		C           config.Cgroup
	}{usable, before(version, 23, 2), c.Cgroup})
}

// dbdData is what slurmdbd.conf.tmpl reads.
type dbdData struct {
	Port         int
	User, Logs   string
	Hosts        []config.Controller
	Host, Backup string
	Database     string
	DBUser       string
	Password     config.Secret
}

// dbdConf renders slurmdbd.conf of one head. Its own database node comes first
// and another one after it.
func dbdConf(c *config.Cluster, hostname string) ([]byte, error) {
	user, password, ok := dbAccount(c)
	if !ok {
		return nil, fmt.Errorf("no account for the database %s", c.Slurm.Accounting.StorageLoc)
	}
	d := dbdData{Port: c.Slurm.Accounting.StoragePort, User: c.Users.SlurmUser, Logs: c.Slurm.LogPath, Hosts: DBDHosts(c),
		Database: c.Slurm.Accounting.StorageLoc, DBUser: user, Password: password}
	if c.Runs(hostname, config.MariaDB) {
		d.Host = "localhost"
	}
	for _, h := range c.HeadsWith(config.MariaDB) {
		switch {
		case h.Hostname == hostname:
		case d.Host == "":
			d.Host = h.Address.String()
		case d.Backup == "":
			d.Backup = h.Address.String()
		}
	}
	return render("slurmdbd.conf.tmpl", d)
}

// dbAccount is slurmdbd's account in the database: its own setting, or that of
// the database of that name.
func dbAccount(c *config.Cluster) (user string, password config.Secret, ok bool) {
	a := c.Slurm.Accounting
	user, password = a.StorageUser, a.StoragePass
	for _, db := range c.Database.MariaDB.Databases {
		if db.Name != a.StorageLoc {
			continue
		}
		if user == "" {
			user = db.User
		}
		if password.IsZero() && user == db.User {
			password = db.Password
		}
	}
	return user, password, user != "" && !password.IsZero()
}

// confServers is what slurmd is started with to fetch its configuration.
func confServers(c *config.Cluster) string {
	var out []string
	for _, h := range c.SlurmControllers() {
		out = append(out, h.Address.String()+":6817")
	}
	return strings.Join(out, ",")
}

// shared says whether the controllers' state lies on storage that all of them
// see, and where that is mounted. One head alone may do without.
func shared(c *config.Cluster) (mount string, ok bool) {
	mount = c.SharedMount()
	if mount == "" || !below(c.Slurm.StateSaveLocation, mount) {
		return "", false
	}
	if c.SharedStorage.Type == config.StorageGlusterFS && len(c.HeadsWith(config.GlusterFS)) == 0 {
		return "", false
	}
	return mount, true
}

// below says whether p lies in dir or is it.
func below(p, dir string) bool {
	p, dir = path.Clean(p), path.Clean(dir)
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}
