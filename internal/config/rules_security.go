package config

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// placedSecret is a password and where the file has it. literal says that the
// password itself stands in the file, there or in the environment section.
type placedSecret struct {
	path    string
	value   Secret
	literal bool
}

// checkUsers finds one number given to two accounts.
func checkUsers(k *checker) {
	u := k.Users
	type account struct{ path, name string }
	uids := make(map[int]account)
	claim := func(path, name string, uid int) {
		if first, ok := uids[uid]; ok && uid != 0 {
			k.err(path, msg("%d is already the number of %s", uid, first.name), msg("give %s a number of its own", name))
			return
		}
		uids[uid] = account{path, name}
	}
	for _, a := range []struct{ key, name string }{{"users.slurm_user", u.SlurmUser}, {"users.munge_user", u.MungeUser}} {
		if !userName.MatchString(a.name) {
			k.err(a.key, msg("%q is not an account name", a.name), msg("write lower-case letters, digits, - and _ only"))
		} else if a.name == "root" {
			k.err(a.key, msg("the service must not run as root"), msg("remove the key: the default is an account of its own"))
		}
	}
	if u.SlurmUser == u.MungeUser {
		k.err("users.munge_user", msg("%s is already the account of Slurm", u.MungeUser), msg("write munge"))
	}
	claim("users.slurm_uid", u.SlurmUser, u.SlurmUID)
	claim("users.munge_uid", u.MungeUser, u.MungeUID)
	if u.SlurmGID == u.MungeGID {
		k.err("users.munge_gid", msg("%d is already the group of %s", u.MungeGID, u.SlurmUser), msg("give munge a group of its own: the munge key is readable by it"))
	}
	seen := map[string]bool{u.SlurmUser: true, u.MungeUser: true}
	for i, c := range u.ClusterUsers {
		at := func(key string) string { return listPath("users.cluster_users", i, key) }
		switch {
		case !userName.MatchString(c.Name) || c.Name == "root":
			k.err(at("name"), msg("%q is not an account name", c.Name), msg("write lower-case letters, digits, - and _ only, and not root"))
		case seen[c.Name]:
			k.err(at("name"), msg("the account %s is listed twice", c.Name), msg("keep one entry"))
		}
		seen[c.Name] = true
		if c.UID == 0 {
			k.err(at("uid"), msg("%s has no number: it would get a different one on every host", c.Name), msg("add uid: 1000 or above"))
			continue
		}
		claim(at("uid"), c.Name, c.UID)
		if gid := c.GID; gid == u.SlurmGID || gid == u.MungeGID {
			k.err(at("gid"), msg("%d is the group of a service", gid), msg("use another number"))
		}
	}
}

// knownDefaults are passwords that documentation, images and old scripts
// come with.
func knownDefaults() []string {
	return []string{
		"password", "passwd", "pass", "admin", "administrator", "root", "toor", "secret", "default", "test", "guest", "user",
		"changeme", "change_me", "change-me", "changethis", "yourpassword", "your_password", "your-password", "mypassword",
		"1234", "12345", "123456", "12345678", "123456789", "1234567890", "qwerty", "abc123", "letmein", "welcome",
		"mysql", "mariadb", "galera", "redis", "slurm", "slurmdbd", "slurmpass", "slurm123", "munge", "keepalived", "sst_sync", "foobared",
		"password123", "password1", "admin123", "root123", "redis123", "test1234", "p@ssw0rd", "passw0rd",
	}
}

// shortestPassword is how long a password must be for no warning.
const shortestPassword = 8

// unused says of a password that nothing takes it: older files have it, and
// whoever learns it has nothing.
func unused(path string) bool {
	return path == "network.vip.auth_password" || path == "database.mariadb.sst_password"
}

// checkPasswords warns about passwords that are known, short, or the same in
// several places. It never says what they are.
func checkPasswords(k *checker) {
	byValue := make(map[Secret][]placedSecret)
	var order []Secret
	for _, s := range k.secrets {
		if s.value.IsZero() || unused(s.path) {
			continue
		}
		lower := strings.ToLower(s.value.Reveal())
		switch {
		case slices.Contains(knownDefaults(), lower), strings.HasPrefix(lower, "changeme"), strings.HasPrefix(lower, "change-me"):
			k.warn(s.path, msg("this password is a known default: it is the first that anyone tries"), msg("make one with: openssl rand -base64 18"))
		case len(lower) < shortestPassword:
			k.warn(s.path, msg("this password is shorter than %d characters", shortestPassword), msg("make one with: openssl rand -base64 18"))
		}
		if len(byValue[s.value]) == 0 {
			order = append(order, s.value)
		}
		byValue[s.value] = append(byValue[s.value], s)
	}
	for _, v := range order {
		same := byValue[v]
		if k.oneAccount(same) {
			continue
		}
		others := make([]string, 0, len(same)-1)
		for _, s := range same[1:] {
			others = append(others, s.path)
		}
		k.warn(same[0].path, msg("this password is also that of %s: whoever learns one has them all", names(others)), msg("give each its own"))
	}
}

// oneAccount reports whether all places of a password mean one account, as
// the databases of one user do.
func (k *checker) oneAccount(same []placedSecret) bool {
	if len(same) < 2 {
		return true
	}
	account := ""
	for _, s := range same {
		name := ""
		for i, db := range k.Database.MariaDB.Databases {
			if s.path == listPath("database.mariadb.databases", i, "password") {
				name = db.User
			}
		}
		if s.path == "slurm_config.accounting.storage_pass" {
			if db, ok := k.AccountingDatabase(); ok {
				name = db.User
			}
		}
		if name == "" || account != "" && name != account {
			return false
		}
		account = name
	}
	return true
}

// Check says what about a device cannot be given to a fence agent, or would not
// end in a machine without power.
func (d FenceDevice) Check() error {
	if !fenceAgent.MatchString(d.Agent) {
		return fmt.Errorf("%q is not a fence agent: write a name such as fence_ipmilan or fence_redfish", d.Agent)
	}
	if slices.Contains(notPower(), d.Agent) {
		return fmt.Errorf("%s takes no power away: a machine that is cut off or warned may still write", d.Agent)
	}
	for name, v := range d.Options {
		switch {
		case !fenceOption.MatchString(name):
			return fmt.Errorf("%q is not an option's name", name)
		case strings.ContainsAny(v.Reveal(), "\n\r\x00"):
			return fmt.Errorf("the option %s has a line break in it", name)
		case slices.Contains([]string{"action", "option", "verbose", "verbose_level", "debug", "debug_file", "nodename"}, name):
			return fmt.Errorf("the option %s is not for a file: multihead says what is to be done, and debugging writes passwords", name)
		case name == "method" && v.Reveal() != "onoff":
			return fmt.Errorf("method %s switches the machine on again at once: off could never be confirmed", v.Reveal())
		}
	}
	return nil
}

var (
	fenceAgent  = regexp.MustCompile(`^fence_[a-z0-9_]+$`)
	fenceOption = regexp.MustCompile(`^[a-z][a-z0-9_-]*$`)
)

// notPower are fence agents that do something else than to switch off.
func notPower() []string {
	return []string{"fence_ack_manual", "fence_brocade", "fence_cisco_mds", "fence_compute", "fence_dummy", "fence_evacuate",
		"fence_heuristics_ping", "fence_ifmib", "fence_kdump", "fence_mpath", "fence_sanbox2", "fence_sbd", "fence_scsi"}
}

// FencePlain reports whether an option of a fence agent may be shown.
func FencePlain(option string) bool { return fencePlain(option) }

func checkFencing(k *checker) {
	seen := make(map[string]bool)
	agents := make(map[string]bool)
	for i, dev := range k.Fencing.Devices {
		at := func(key string) string { return listPath("fencing.devices", i, key) }
		if _, ok := k.Head(dev.Node); !ok {
			k.err(at("node"), msg("%q is not a head of this file", dev.Node), msg("write the hostname of a head"))
		}
		if !fenceAgent.MatchString(dev.Agent) {
			k.err(at("agent"), msg("%q is not a fence agent", dev.Agent), msg("write a name such as fence_ipmilan or fence_redfish"))
		} else if err := dev.Check(); err != nil {
			k.err(at("agent"), msg("%s", err), msg("correct the device"))
		}
		seen[dev.Node], agents[dev.Agent] = true, true
	}
	for i, name := range k.Fencing.Order {
		if !agents[name] {
			k.err(indexPath("fencing.order", i), msg("no device has the agent %q", name), msg("write agents of fencing.devices, in the order in which a head's devices are tried"))
		}
	}
	if !k.Fencing.Enabled {
		if len(k.Fencing.Devices) > 0 {
			k.warn("fencing.enabled", msg("there are devices, and fencing is off: the last of several heads does not go on alone"), msg("write enabled: true"))
		}
		return
	}
	for _, h := range k.Nodes.Controllers {
		if !seen[h.Hostname] {
			k.warn("fencing.devices", msg("%s has no fence device: nothing takes over from it without a person", h.Hostname), msg("add {node: %s, agent: ...}", h.Hostname))
		}
	}
}

// checkTime finds time servers that an offline cluster cannot reach.
func checkTime(k *checker) {
	t := k.Time
	if t.Timezone != "" && t.Timezone != k.Info.Timezone && !isZone(t.Timezone) {
		k.err("time_synchronization.timezone", msg("%q is not a time zone", t.Timezone), zoneRemedy(t.Timezone))
	} else if z := k.Info.Timezone; z != "" && t.Timezone != z {
		k.warn("time_synchronization.timezone", msg("it differs from cluster_info.timezone, %s; %s is used", z, t.Timezone), msg("write it in one place"))
	}
	for i, s := range t.NTPServers {
		at := indexPath("time_synchronization.ntp_servers", i)
		switch {
		case s == "" || strings.ContainsAny(s, " /"):
			k.err(at, msg("%q is not a time server", s), msg("write a name or an address only"))
		case k.Installation.OfflineMode && k.onInternet(s):
			k.warn(at, msg("installation.offline_mode is on and %s is on the internet: no host will get the time from it", s), msg("name a time server of the site, or none: the heads then keep time among themselves"))
		}
	}
}

// onInternet reports whether a server seems to be outside the site: a public
// address, or a name outside the cluster's domain.
func (k *checker) onInternet(server string) bool {
	if a, err := netip.ParseAddr(server); err == nil {
		inside := k.Network.ManagementNetwork.IsValid() && k.Network.ManagementNetwork.Contains(a) ||
			k.Network.ComputeNetwork.IsValid() && k.Network.ComputeNetwork.Contains(a)
		return !inside && !a.IsPrivate() && !a.IsLoopback() && !a.IsLinkLocalUnicast()
	}
	if !strings.Contains(server, ".") {
		return false // a name of the site's own /etc/hosts or search domain
	}
	if d := k.Info.Domain; d != "" && (server == d || strings.HasSuffix(server, "."+d)) {
		return false
	}
	for _, local := range []string{".local", ".lan", ".internal", ".home.arpa", ".localdomain"} {
		if strings.HasSuffix(server, local) {
			return false
		}
	}
	return true
}

func checkClustering(k *checker) {
	n := k.Clustering.NodeManagement
	heads := len(k.Nodes.Controllers)
	switch {
	case n.MinControllers > n.MaxControllers:
		k.err("clustering.node_management.min_controllers", msg("%d is more than max_controllers, %d", n.MinControllers, n.MaxControllers), msg("write %d or less", n.MaxControllers))
	case heads > n.MaxControllers:
		k.warn("clustering.node_management.max_controllers", msg("the file has %s and the limit is %d", plural(heads, "head"), n.MaxControllers), msg("raise the limit"))
	case heads < n.MinControllers && heads > 0:
		k.warn("clustering.node_management.min_controllers", msg("the file has %s and the limit is %d", plural(heads, "head"), n.MinControllers), msg("lower the limit"))
	}
	if t := k.Clustering.AutoDiscovery.Timeout.Duration(); t <= 0 {
		k.err("clustering.auto_discovery.timeout", msg("no head can answer in no time"), msg("write 5"))
	}
}
