package doctor

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"multihead/internal/config"
)

// listener is a TCP socket that something listens on.
type listener struct {
	address string
	port    int
	process string // empty where it cannot be told
	pid     int
}

// need is a port that a service will listen on, and the programs that may
// have it already because they are that service.
type need struct {
	port     int
	service  string
	programs []string
}

// The ports that are the same everywhere.
const (
	portMySQL      = 3306
	portGalera     = 4567
	portIST        = 4568
	portSST        = 4444
	portGlusterd   = 24007
	portSlurmctld  = 6817
	portSlurmd     = 6818
	portSentinel   = 26379
	portAgent      = 9797
	redisBusOffset = 10000
)

// needs are the ports that a host's services will listen on.
func needs(c *config.Cluster, p Patient) []need {
	name := p.Spec.Hostname
	maria := []string{"mariadbd", "mysqld"}
	var out []need
	switch p.Role {
	case Head:
		out = append(out, need{portAgent, "agent", []string{"multihead"}})
		if c.Runs(name, config.GlusterFS) {
			out = append(out, need{portGlusterd, "glusterfs", []string{"glusterd"}})
		}
		if c.Runs(name, config.MariaDB) {
			out = append(out, need{portMySQL, "mariadb", maria}, need{portGalera, "mariadb (Galera)", maria},
				need{portIST, "mariadb (Galera IST)", maria}, need{portSST, "mariadb (Galera SST)", append(maria, "socat", "nc", "rsync")})
		}
		if c.Runs(name, config.Redis) {
			out = append(out, redisNeeds(c)...)
		}
		if c.Runs(name, config.Slurm) {
			out = append(out, need{portSlurmctld, "slurmctld", []string{"slurmctld"}})
			if c.AccountingOn() {
				out = append(out, need{c.Slurm.Accounting.StoragePort, "slurmdbd", []string{"slurmdbd"}})
			}
		}
	case Compute:
		out = append(out, need{portSlurmd, "slurmd", []string{"slurmd", "slurmstepd"}})
	case Witness:
		out = append(out, need{portAgent, "agent", []string{"multihead"}})
		out = append(out, need{portGalera, "garbd", []string{"garbd"}})
		if w, ok := c.GlusterArbiter(); ok && w.Hostname == name {
			out = append(out, need{portGlusterd, "glusterfs (arbiter)", []string{"glusterd"}})
		}
		if c.RedisMode() == config.RedisSentinel {
			out = append(out, need{portSentinel, "redis sentinel", []string{"redis-sentinel", "redis-server"}})
		}
	}
	return slices.DeleteFunc(out, func(n need) bool { return n.port == 0 })
}

func redisNeeds(c *config.Cluster) []need {
	programs := []string{"redis-server", "redis-sentinel", "valkey-server"}
	out := []need{{c.Redis.Cluster.Port, "redis", programs}}
	switch c.RedisMode() {
	case config.RedisCluster:
		out = append(out, need{c.Redis.Cluster.Port + redisBusOffset, "redis (cluster bus)", programs})
	case config.RedisSentinel:
		out = append(out, need{portSentinel, "redis sentinel", programs})
	}
	return out
}

func askPorts(ctx context.Context, r *recorder) ([]listener, error) {
	out, err := r.Query(ctx, "ss", "-Htlnp")
	if err != nil {
		return nil, err
	}
	return parseSS(out), nil
}

// parseSS reads the lines of ss -Htlnp:
// LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=1,fd=3))
func parseSS(text string) []listener {
	var out []listener
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 5 || f[0] != "LISTEN" {
			continue
		}
		i := strings.LastIndexByte(f[3], ':')
		if i < 0 {
			continue
		}
		port, err := strconv.Atoi(f[3][i+1:])
		if err != nil {
			continue
		}
		l := listener{address: f[3][:i], port: port}
		if len(f) > 5 {
			rest := strings.Join(f[5:], " ")
			if _, after, ok := strings.Cut(rest, `(("`); ok {
				l.process, after, _ = strings.Cut(after, `"`)
				if _, after, ok = strings.Cut(after, "pid="); ok {
					digits, _, _ := strings.Cut(after, ",")
					l.pid, _ = strconv.Atoi(digits)
				}
			}
		}
		out = append(out, l)
	}
	return out
}

// judgePorts wants the ports of the host's services free, or held by them.
func judgePorts(c *config.Cluster, f *facts) Finding {
	fi := Finding{Check: checkPorts, Level: OK, Asked: f.ports.asked}
	wanted := needs(c, f.patient)
	if len(wanted) == 0 {
		fi.Level = Skipped
		return fi
	}
	if f.ports.err != nil {
		return fi.unknown(f.ports.err)
	}
	var free, held []string
	for _, n := range wanted {
		i := slices.IndexFunc(f.ports.value, func(l listener) bool { return l.port == n.port })
		if i < 0 {
			free = append(free, strconv.Itoa(n.port))
			continue
		}
		l := f.ports.value[i]
		switch {
		case slices.Contains(n.programs, l.process):
			held = append(held, fmt.Sprintf("%d by %s", n.port, l.process))
		case l.process == "":
			fi.worse(Unknown, fmt.Sprintf("port %d, which %s needs, is in use and the process cannot be told", n.port, n.service), "look there with: ss -tlnp sport = "+strconv.Itoa(n.port))
		default:
			fi.worse(Fail, fmt.Sprintf("port %d, which %s needs, is held by %s (pid %d) on %s", n.port, n.service, l.process, l.pid, l.address),
				fmt.Sprintf("stop %s there, or move it to another port", l.process))
		}
	}
	said := "free: " + strings.Join(free, " ")
	if len(held) > 0 {
		said = "in use: " + strings.Join(held, ", ")
		if len(free) > 0 {
			said += "; free: " + strings.Join(free, " ")
		}
	}
	fi.fine(said)
	return fi
}
