package config

import (
	"cmp"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"multihead/internal/hostlist"
)

var (
	partitionName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)
	slurmTime     = regexp.MustCompile(`^([0-9]+|[0-9]+:[0-5][0-9](:[0-5][0-9])?|[0-9]+-[0-9]{1,2}(:[0-5][0-9](:[0-5][0-9])?)?)$`)
	anyNumber     = regexp.MustCompile(`[0-9]+`)
	gresItem      = regexp.MustCompile(`^[A-Za-z0-9_]+(:[A-Za-z0-9_.-]+)*$`)
)

func checkSlurm(k *checker) {
	heads := k.HeadsWith(Slurm)
	if len(heads) == 0 {
		return
	}
	s := k.Slurm
	at := "slurm_config.state_save_location"
	switch mount := k.SharedMount(); {
	case !path.IsAbs(s.StateSaveLocation):
		k.err(at, msg("%q is not an absolute path", s.StateSaveLocation), msg("write %s", path.Join("/", mount, "slurm/state")))
	case within(s.StateSaveLocation, "/tmp"), within(s.StateSaveLocation, "/run"), within(s.StateSaveLocation, "/dev"):
		k.err(at, msg("%s is emptied when the machine starts: all queued jobs would be gone", s.StateSaveLocation), msg("write %s", path.Join("/", mount, "slurm/state")))
	case len(heads) > 1 && path.IsAbs(mount) && !within(s.StateSaveLocation, mount):
		k.err(at, msg("%s is not on the shared storage %s: the head that takes over would not know the jobs", s.StateSaveLocation, mount), msg("write %s", path.Join(mount, "slurm/state")))
	}
	for _, d := range []struct{ key, dir string }{{"config_path", s.ConfigPath}, {"log_path", s.LogPath}, {"spool_path", s.SpoolPath}, {"install_path", s.InstallPath}} {
		if d.dir != "" && !path.IsAbs(d.dir) {
			k.err("slurm_config."+d.key, msg("%q is not an absolute path", d.dir), msg("write it from the root, as /%s", d.dir))
		}
	}
	// Every node writes its spool directory alone.
	if m := k.SharedMount(); path.IsAbs(m) && within(s.SpoolPath, m) && !strings.Contains(s.SpoolPath, "%") {
		k.err("slurm_config.spool_path", msg("%s is on the shared storage: every node would write over the others' jobs", s.SpoolPath), msg("write a local directory such as /var/spool/slurmd"))
	}
	if !s.MultiMaster.Enabled && len(heads) > 1 {
		k.warn("slurm_config.multi_master.enabled", msg("only %s will run slurmctld: when it dies, nobody submits or starts a job", k.SlurmControllers()[0].Hostname), msg("write true"))
	}
	k.checkSlurmHeads(heads)
}

// checkSlurmHeads checks the order of the controllers, where it is given.
func (k *checker) checkSlurmHeads(heads []Controller) {
	at := "slurm_config.multi_master.controllers"
	for _, name := range k.Slurm.MultiMaster.Controllers {
		if !slices.ContainsFunc(heads, func(h Controller) bool { return h.Hostname == name }) {
			k.err(at, msg("%s is not a head with services.slurm", name), msg("write auto, or hostnames of heads with slurm"))
		}
	}
	if k.Slurm.MultiMaster.Controllers.Auto() {
		return
	}
	for _, h := range heads {
		if !slices.Contains(k.Slurm.MultiMaster.Controllers, h.Hostname) {
			k.warn(at, msg("%s has services.slurm: true and is not in the list; it will not run slurmctld", h.Hostname), msg("add it, or write auto"))
		}
	}
}

func checkAccounting(k *checker) {
	if len(k.HeadsWith(Slurm)) == 0 || !k.Slurm.Accounting.wanted() || k.unreadBelow("nodes.controllers") || k.unreadBelow("database.mariadb.databases") {
		return
	}
	a := k.Slurm.Accounting
	if len(k.HeadsWith(MariaDB)) == 0 {
		k.warn("slurm_config.accounting", msg("no head runs mariadb, so jobs are not accounted"), msg("set services.mariadb: true on the heads, or accounting: {enabled: false}"))
		return
	}
	if _, ok := k.AccountingDatabase(); !ok {
		k.err("database.mariadb.databases", msg("there is no database %s for the accounting of jobs", a.StorageLoc), msg(`add {name: %s, user: slurm, password: "${DB_SLURM_PASSWORD}"}`, a.StorageLoc))
	}
	for _, h := range k.HeadsWith(Slurm) {
		if !h.Services.MariaDB && (a.StorageHost == "127.0.0.1" || a.StorageHost == "localhost") {
			i := slices.IndexFunc(k.Nodes.Controllers, func(c Controller) bool { return c.Hostname == h.Hostname })
			k.warn(headPath(i, "services"), msg("%s runs slurm without mariadb: its slurmdbd uses the database of another head and stops with it", h.Hostname), msg("set services.mariadb: true on it"))
		}
	}
}

func (a Accounting) wanted() bool { return a.Enabled && a.StorageType == "accounting_storage/slurmdbd" }

// AccountingOn reports whether jobs are accounted: the file wants it and a
// head runs the database.
func (c *Cluster) AccountingOn() bool {
	return c.Slurm.Accounting.wanted() && len(c.HeadsWith(MariaDB)) > 0
}

// AccountingDatabase returns the database of slurmdbd, its account and its
// password.
func (c *Cluster) AccountingDatabase() (DatabaseSpec, bool) {
	a := c.Slurm.Accounting
	for _, db := range c.Database.MariaDB.Databases {
		if db.Name != a.StorageLoc {
			continue
		}
		if a.StorageUser != "" && a.StorageUser != db.User {
			db.User, db.Password = a.StorageUser, a.StoragePass
		} else if !a.StoragePass.IsZero() {
			db.Password = a.StoragePass
		}
		return db, true
	}
	return DatabaseSpec{}, false
}

// SlurmClusterName returns the cluster's name as Slurm allows it.
func (c *Cluster) SlurmClusterName() string {
	return strings.ToLower(strings.ReplaceAll(c.Info.ClusterName, "-", "_"))
}

// checkPartitions looks at each partition by itself and at the default one.
func checkPartitions(k *checker) {
	computes := k.AllComputes()
	if len(k.HeadsWith(Slurm)) == 0 {
		return
	}
	if len(k.Slurm.Partitions) == 0 && len(computes) > 0 {
		k.warn("slurm_config.partitions", msg("there is no partition, so no job can be submitted"), msg("add partitions: [{name: normal, nodes: ALL, default: true}]"))
		return
	}
	seen := make(map[string]bool)
	first := -1
	for i, p := range k.Slurm.Partitions {
		at := func(key string) string { return listPath("slurm_config.partitions", i, key) }
		switch {
		case p.Name == "":
			k.err(at("name"), msg("the partition has no name"), msg("add name:"))
		case !partitionName.MatchString(p.Name) || strings.EqualFold(p.Name, "default"):
			k.err(at("name"), msg("%q is not the name of a partition", p.Name), msg("write letters, digits, - and _ only, and not DEFAULT"))
		case seen[p.Name]:
			k.err(at("name"), msg("%s is listed twice", p.Name), msg("give every partition its own name"))
		}
		seen[p.Name] = true
		if p.Default && first >= 0 {
			k.err(at("default"), msg("%s and %s both say default: true", k.Slurm.Partitions[first].Name, p.Name), msg("keep true on one partition"))
		} else if p.Default {
			first = i
		}
		if t := strings.ToUpper(p.MaxTime); t != "UNLIMITED" && t != "INFINITE" && !slurmTime.MatchString(p.MaxTime) {
			k.err(at("max_time"), msg("%q is not a time limit", p.MaxTime), msg("write days-hours:minutes:seconds such as 7-00:00:00, minutes, or UNLIMITED"))
		}
		if n := int(p.MaxNodes); n > len(p.Nodes) && len(p.Nodes) > 0 {
			k.warn(at("max_nodes"), msg("%d is more than the %s of the partition", n, plural(len(p.Nodes), "node")), msg("write %d, or auto", len(p.Nodes)))
		}
	}
	if first < 0 && len(k.Slurm.Partitions) > 0 && !k.unreadBelow("slurm_config.partitions") {
		k.warn("slurm_config.partitions", msg("no partition says default: true, so sbatch without --partition is refused"), msg("add default: true to one"))
	}
}

// checkPartitionNodes finds nodes of partitions that are not there, and
// compute nodes that are in no partition.
func checkPartitionNodes(k *checker) {
	computes := k.AllComputes()
	known := make(map[string]bool)
	var all []string
	for _, n := range computes {
		known[n.Hostname] = true
		all = append(all, n.Hostname)
	}
	used := make(map[string]bool)
	for i, p := range k.Slurm.Partitions {
		at := listPath("slurm_config.partitions", i, "nodes")
		if p.Nodes.Auto() {
			k.err(at, msg("the partition %s has no nodes", p.Name), msg("write a hostlist such as node[001-010], or ALL"))
			continue
		}
		var missing []string
		for _, n := range p.Nodes {
			used[n] = true
			if !known[n] {
				missing = append(missing, n)
			}
		}
		if len(missing) == 0 {
			continue
		}
		fix := msg("add them below nodes: compute_nodes:, or correct the list")
		if near := nearest(missing[0], all); near != "" && len(missing) == 1 && anyNumber.ReplaceAllString(near, "") != anyNumber.ReplaceAllString(missing[0], "") {
			fix = msg("did you mean %s?", near)
		} else if len(all) > 0 {
			fix = msg("add them below nodes: compute_nodes:, or write some of %s", hostlist.Compress(all))
		}
		k.err(at, msg("%s not among the compute nodes of this file", areOrIs(missing)), fix)
	}
	if len(k.HeadsWith(Slurm)) == 0 || len(k.Slurm.Partitions) == 0 || k.unreadBelow("slurm_config.partitions") {
		return
	}
	idle := slices.DeleteFunc(all, func(n string) bool { return used[n] })
	if len(idle) > 0 {
		k.warn("slurm_config.partitions", msg("%s in no partition and will never run a job", areOrIs(idle)), msg("add to the nodes of a partition, or write nodes: ALL"))
	}
}

func areOrIs(hosts []string) string {
	if len(hosts) == 1 {
		return hosts[0] + " is"
	}
	return hostlist.Compress(hosts) + " are"
}

// gresName is the kind and, where given, the type of a resource, without the
// number: gpu:a100:2 is gpu:a100.
func gresName(item string) (kind, typ string, count int) {
	parts := strings.Split(item, ":")
	count = 1
	if n := len(parts); n > 1 {
		if c, err := strconv.Atoi(strings.TrimSuffix(parts[n-1], "G")); err == nil {
			count, parts = c, parts[:n-1]
		}
	}
	return parts[0], strings.Join(parts[1:], ":"), count
}

// checkGRES finds resources that are not written as Slurm reads them, GPUs
// that do not add up, and partitions that promise what no node has.
func checkGRES(k *checker) {
	have := make(map[string][]string)
	each := func(list string, nodes []ComputeNode) {
		for i, n := range nodes {
			gpus, listed := 0, false
			at := listPath(list, i, "hardware.gres")
			for _, item := range n.Hardware.GRES {
				if !gresItem.MatchString(item) {
					k.err(at, msg("%q is not a generic resource", item), msg("write name:type:number such as gpu:a100:2"))
					continue
				}
				kind, typ, count := gresName(item)
				have[n.Hostname] = append(have[n.Hostname], kind, kind+":"+typ)
				if kind == "gpu" {
					gpus, listed = gpus+count, true
				}
			}
			if listed && n.Hardware.GPUs != 0 && gpus != n.Hardware.GPUs {
				k.err(at, msg("gres has %d GPUs and gpus says %d", gpus, n.Hardware.GPUs), msg("write the same number in both, or leave gpus out"))
			}
		}
	}
	each("nodes.compute_nodes", k.Nodes.ComputeNodes)
	each("nodes.viz_nodes", k.Nodes.VizNodes)
	for i, p := range k.Slurm.Partitions {
		at := listPath("slurm_config.partitions", i, "gres")
		for _, item := range p.GRES {
			if !gresItem.MatchString(item) {
				k.err(at, msg("%q is not a generic resource", item), msg("write name:type:number such as gpu:a100:2"))
				continue
			}
			kind, typ, _ := gresName(item)
			want := kind
			if typ != "" {
				want += ":" + typ
			}
			if !slices.ContainsFunc(p.Nodes, func(n string) bool { return slices.Contains(have[n], want) }) {
				k.err(at, msg("no node of the partition %s has %s", p.Name, want), msg("add hardware: {gres: %s} to the nodes that have it, or remove it here", item))
			}
		}
	}
}

// slurmOf is the Slurm release of the distributions' own packages.
func slurmOf(osType string) string {
	key := strings.NewReplacer(" ", "", "-", "", "_", "", ".", "").Replace(strings.ToLower(osType))
	return map[string]string{
		"debian11": "20.11", "bullseye": "20.11",
		"debian12": "22.05", "bookworm": "22.05",
		"debian13": "24.11", "trixie": "24.11",
		"ubuntu2004": "19.05", "focal": "19.05",
		"ubuntu2204": "21.08", "jammy": "21.08",
		"ubuntu2404": "23.11", "noble": "23.11",
	}[key]
}

// checkSlurmVersions compares what the file says about operating systems.
// What is really installed is looked at before anything is changed.
func checkSlurmVersions(k *checker) {
	oldest, oldestHead := "", ""
	for i, h := range k.Nodes.Controllers {
		v := slurmOf(h.OSType)
		if !h.Services.Slurm || v == "" {
			continue
		}
		if oldest != "" && v != oldest {
			k.err(headPath(i, "os_type"), msg("%s comes with Slurm %s and %s with Slurm %s: heads of different releases cannot read each other's state", h.OSType, v, oldestHead, oldest), msg("install the same release on all heads"))
		}
		if oldest == "" || cmp.Compare(v, oldest) < 0 {
			oldest, oldestHead = v, h.Hostname
		}
	}
	if oldest == "" {
		return
	}
	each := func(list string, nodes []ComputeNode) {
		for i, n := range nodes {
			if v := slurmOf(n.OSType); v != "" && cmp.Compare(v, oldest) > 0 {
				k.err(listPath(list, i, "os_type"), msg("%s comes with Slurm %s, newer than the %s of the heads: the heads would refuse the node", n.OSType, v, oldest), msg("upgrade the heads first"))
			}
		}
	}
	each("nodes.compute_nodes", k.Nodes.ComputeNodes)
	each("nodes.viz_nodes", k.Nodes.VizNodes)
}
