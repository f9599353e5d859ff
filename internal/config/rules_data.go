package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

var (
	databaseName = regexp.MustCompile(`^[A-Za-z0-9_]{1,64}$`)
	databaseUser = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,80}$`)
	memorySize   = regexp.MustCompile(`^[0-9]+(b|k|kb|m|mb|g|gb)?$`)
)

func checkDatabase(k *checker) {
	heads := k.HeadsWith(MariaDB)
	if len(heads) < 2 {
		return
	}
	m := k.Database.MariaDB
	if m.Galera.SSTMethod == "rsync" || m.Galera.SSTMethod == "mysqldump" {
		k.warn("database.mariadb.galera.sst_method", msg("with %s the head that gives the data does not serve while another joins", m.Galera.SSTMethod), msg("write mariabackup"))
	}
}

func checkGalera(k *checker) {
	heads := k.HeadsWith(MariaDB)
	if len(heads) == 0 {
		return
	}
	g := k.Database.MariaDB.Galera
	// Galera refuses longer names when it starts.
	if len(g.ClusterName) > 32 {
		at := "database.mariadb.galera.cluster_name"
		k.err(at, msg("%q is longer than the 32 characters Galera allows", g.ClusterName), msg("write a shorter cluster_name below galera:"))
	}
	address := g.ClusterAddress
	if address == "auto" || address == "" {
		return
	}
	at := "database.mariadb.galera.cluster_address"
	list, ok := strings.CutPrefix(address, "gcomm://")
	list, _, _ = strings.Cut(list, "?")
	switch {
	case !ok:
		k.err(at, msg("%q is not a Galera address", address), msg("write auto"))
		return
	case list == "":
		k.err(at, msg("an empty gcomm:// makes every start a new cluster: two heads would go separate ways"), msg("write auto"))
		return
	}
	missing := slices.Clone(heads)
	for member := range strings.SplitSeq(list, ",") {
		member = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(member), ":4567"))
		i := slices.IndexFunc(missing, func(h Controller) bool { return h.Hostname == member || h.Address.String() == member })
		if i < 0 {
			k.err(at, msg("%s is not a head with mariadb, or stands there twice", member), msg("write auto"))
			return
		}
		missing = slices.Delete(missing, i, i+1)
	}
	if len(missing) > 0 {
		k.err(at, msg("%s runs mariadb and is not in the address", missing[0].Hostname), msg("write auto"))
	}
}

func checkDatabases(k *checker) {
	if len(k.HeadsWith(MariaDB)) == 0 {
		return
	}
	seen := make(map[string]bool)
	passwords := make(map[string]Secret)
	for i, db := range k.Database.MariaDB.Databases {
		at := func(key string) string { return listPath("database.mariadb.databases", i, key) }
		switch {
		case !databaseName.MatchString(db.Name):
			k.err(at("name"), msg("%q is not the name of a database", db.Name), msg("write letters, digits and _ only"))
		case slices.Contains([]string{"mysql", "sys", "information_schema", "performance_schema"}, strings.ToLower(db.Name)):
			k.err(at("name"), msg("%s is a database of MariaDB itself", db.Name), msg("use another name"))
		case seen[db.Name]:
			k.err(at("name"), msg("%s is listed twice", db.Name), msg("keep one entry for each database"))
		}
		seen[db.Name] = true
		switch {
		case !databaseUser.MatchString(db.User):
			k.err(at("user"), msg("%q is not a database account", db.User), msg("write letters, digits, - and _ only"))
			continue
		case slices.Contains([]string{"root", "mysql", "mariadb.sys"}, db.User):
			k.err(at("user"), msg("%s is an account of the database itself", db.User), msg("use an account of its own, such as %s", db.Name))
			continue
		}
		if db.Password.IsZero() {
			k.err(at("password"), msg("the account %s has no password", db.User), msg(`write password: "${NAME}" and export NAME`))
		}
		if first, ok := passwords[db.User]; ok && first != db.Password {
			k.err(at("password"), msg("the account %s has two different passwords", db.User), msg("write the same one, or give each database its own account"))
		}
		passwords[db.User] = db.Password
	}
}

// checkDatabaseConfig keeps the site's own settings from undoing what keeps
// the data safe.
func checkDatabaseConfig(k *checker) {
	for name, value := range k.Database.MariaDB.Config {
		at := keyPath("database.mariadb.config", name)
		switch key := strings.ReplaceAll(strings.ToLower(name), "-", "_"); {
		case slices.Contains([]string{"wsrep_cluster_address", "wsrep_cluster_name", "wsrep_node_address", "wsrep_node_name", "wsrep_sst_method", "wsrep_sst_auth", "wsrep_on", "wsrep_provider"}, key):
			k.err(at, msg("multihead sets it itself, different on every head"), msg("remove it"))
		case key == "binlog_format" && !strings.EqualFold(value, "row"), key == "innodb_autoinc_lock_mode" && value != "2":
			k.err(at, msg("Galera does not replicate correctly with %s", value), msg("remove it"))
		case key == "innodb_flush_log_at_trx_commit" && value != "1":
			k.warn(at, msg("with %s, heads that crash together lose commits they had confirmed", value), msg("remove it, or write 1"))
		case strings.ContainsAny(name+value, "\n\r"):
			k.err(at, msg("a setting must be one line"), msg("remove the line break"))
		}
	}
}

func checkRedis(k *checker) {
	heads := k.HeadsWith(Redis)
	if len(heads) == 0 || k.unreadBelow("nodes.controllers") {
		return
	}
	r := k.Redis
	switch {
	case r.Type == RedisCluster && !r.Cluster.ClusterMode:
		k.err("redis.cluster.cluster_mode", msg("redis.type is cluster and cluster_mode is false"), msg("write type: sentinel, or remove cluster_mode"))
	case r.Type == RedisCluster && len(heads) < 3:
		k.err("redis.type", msg("a Redis Cluster needs 3 heads and has %d", len(heads)), msg("write type: auto"))
	}
	if k.RedisMode() == RedisSentinel && r.Type != RedisCluster && len(heads) == 2 && len(k.Witnesses) == 0 {
		k.warn("redis.type", msg("two sentinels without a third voter: when one head dies, the other may not make itself master, and Redis takes no writes"), msg("add a witness"))
	}
	if m := r.Cluster.MaxMemory; m != "" && !memorySize.MatchString(strings.ToLower(m)) {
		k.err("redis.cluster.maxmemory", msg("%q is not a size", m), msg("write a size such as 512mb or 2gb"))
	}
	if t := r.Cluster.ClusterNodeTimeout.Duration(); t < 500*time.Millisecond {
		k.warn("redis.cluster.cluster_node_timeout", msg("after %d ms of silence a node counts as dead: a busy moment will look like a failure", t.Milliseconds()), msg("write 1000 or more"))
	}
	if r.Cluster.Password.IsZero() && len(heads) > 1 {
		k.warn("redis.cluster.password", msg("Redis has no password: whoever reaches the network reads and changes everything in it"), msg(`write password: "${REDIS_PASSWORD}"`))
	}
	k.checkNamedHeads("redis.cluster.nodes", r.Cluster.Nodes, heads, Redis)
}

// checkNamedHeads checks a list that may say auto: it must name exactly the
// heads that run the service, by name or by address.
func (k *checker) checkNamedHeads(at string, list HostList, heads []Controller, service string) {
	if list.Auto() {
		return
	}
	for _, name := range list {
		if !slices.ContainsFunc(heads, func(h Controller) bool { return h.Hostname == name || h.Address.String() == name }) {
			k.err(at, msg("%s is not a head with services.%s", name, service), msg("write auto"))
		}
	}
	for _, h := range heads {
		if !slices.Contains(list, h.Hostname) && !slices.Contains(list, h.Address.String()) {
			k.err(at, msg("%s has services.%s: true and is not in the list", h.Hostname, service), msg("write auto, or switch it off on that head"))
		}
	}
}

func checkRedisReplicas(k *checker) {
	heads := k.HeadsWith(Redis)
	if k.RedisMode() != RedisCluster {
		return
	}
	at := "redis.cluster.replicas"
	switch n := k.Redis.Cluster.Replicas; {
	case n == 0:
		k.warn(at, msg("without replicas every lost head takes its keys offline, one in %d of all, until it is back", len(heads)), msg("write replicas: 1"))
	case n >= len(heads):
		k.err(at, msg("%d replicas of each master need %d heads; there are %d", n, n+1, len(heads)), msg("write replicas: 1"))
	}
}

// RedisMode returns what Redis runs as: RedisCluster, RedisSentinel,
// "standalone" on one head, or nothing when no head runs it.
func (c *Cluster) RedisMode() string {
	n := len(c.HeadsWith(Redis))
	switch {
	case n == 0:
		return ""
	case n == 1:
		return RedisStandalone
	case n == 2, c.Redis.Type == RedisSentinel, !c.Redis.Cluster.ClusterMode:
		return RedisSentinel
	}
	return RedisCluster
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
