package main

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"

	"multihead/internal/host"
	"multihead/internal/host/hosttest"
	"multihead/internal/host/rpc"
)

const (
	subnet      = "198.51.100.0/24" // set aside for documentation
	vip         = "198.51.100.250"
	clusterFile = "my_multihead_cluster.yaml"
	keyFile     = "id_ed25519"
)

func headName(i int) string    { return fmt.Sprintf("head%03d", i) }
func headAddress(i int) string { return fmt.Sprintf("198.51.100.%d", i) }

// playHeads serves all heads until the process ends. It writes what a client
// needs to dir: the cluster file, the key and known_hosts.
func playHeads(ctx context.Context, dir string, heads int) error {
	if heads < 3 || heads > 200 {
		return fmt.Errorf("%d heads: there can be 3 to 200", heads)
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return err
	}
	login, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return err
	}
	var known strings.Builder
	sims := map[string]*sim{}
	for i := 1; i <= heads; i++ {
		s, err := newSim(i, heads, login.PublicKey())
		if err != nil {
			return err
		}
		sims[headAddress(i)] = s
		fmt.Fprintf(&known, "%s %s", headAddress(i), ssh.MarshalAuthorizedKey(s.hostKey.PublicKey()))
	}
	for name, data := range map[string]string{
		keyFile: string(pem.EncodeToMemory(block)), "known_hosts": known.String(), clusterFile: clusterText(dir, heads),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			return err
		}
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", ":22")
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		address, _, err := net.SplitHostPort(c.LocalAddr().String())
		if err != nil || sims[address] == nil {
			_ = c.Close()
			continue
		}
		go sims[address].serve(ctx, c)
	}
}

// clusterText is the cluster file of the simulated heads.
func clusterText(dir string, heads int) string {
	var b strings.Builder
	b.WriteString("config_version: '2.1'\ncluster_info: {cluster_name: manyheads, domain: manyheads.example, timezone: Asia/Seoul}\nnodes:\n  controllers:\n")
	for i := 1; i <= heads; i++ {
		fmt.Fprintf(&b, "    - {hostname: %s, ip_address: %s, ssh_user: root, ssh_key_path: %s, priority: %d, vip_owner: %v, services: {glusterfs: true, mariadb: true, redis: true, slurm: true, keepalived: true}}\n",
			headName(i), headAddress(i), filepath.Join(dir, keyFile), 254-i, i == 1)
	}
	b.WriteString(`network:
  management_network: ` + subnet + `
  vip: {address: ` + vip + `, netmask: 24, vrrp_router_id: 51, auth_password: sim-vrrp}
database:
  mariadb:
    root_password: simulated-root-1
    sst_password: simulated-sst-2
    databases:
      - {name: slurm_acct_db, user: slurm, password: simulated-slurm-3}
redis:
  type: cluster
  cluster: {port: 6379, password: simulated-redis-4, replicas: 0}
`)
	return b.String()
}

// sim is one simulated head.
type sim struct {
	hostKey ssh.Signer
	conf    *ssh.ServerConfig
	machine *hosttest.Machine
}

func newSim(i, heads int, login ssh.PublicKey) (*sim, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	s := &sim{machine: newMachine(i, heads)}
	if s.hostKey, err = ssh.NewSignerFromKey(private); err != nil {
		return nil, err
	}
	s.conf = &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) != string(login.Marshal()) {
			return nil, errors.New("another key")
		}
		return nil, nil
	}}
	s.conf.AddHostKey(s.hostKey)
	return s, nil
}

// serve speaks SSH and, for whatever is started, the remote half's protocol:
// what a head does that has the same multihead installed.
func (s *sim) serve(ctx context.Context, c net.Conn) {
	conn, channels, requests, err := ssh.NewServerConn(c, s.conf)
	if err != nil {
		_ = c.Close()
		return
	}
	defer func() { _ = conn.Close() }()
	go ssh.DiscardRequests(requests)
	for ch := range channels {
		if ch.ChannelType() != "session" {
			_ = ch.Reject(ssh.UnknownChannelType, "no")
			continue
		}
		stream, requests, err := ch.Accept()
		if err != nil {
			return
		}
		go func() {
			for req := range requests {
				_ = req.Reply(req.Type == "exec", nil)
				if req.Type == "exec" {
					go s.half(ctx, stream)
				}
			}
		}()
	}
}

func (s *sim) half(ctx context.Context, stream ssh.Channel) {
	var code [4]byte
	if err := rpc.Serve(ctx, stream, s.machine, rpc.ServerOptions{Version: "simulated", ReadOnly: true}); err != nil {
		code[3] = 1
	}
	_, _ = stream.SendRequest("exit-status", false, code[:])
	_ = stream.Close()
}

// newMachine is a head with its address (the first one with the VIP as well),
// keepalived and a Redis that is a master among the others; nothing else runs
// on it, and nothing has data.
func newMachine(i, heads int) *hosttest.Machine {
	addresses := `{"local":"` + headAddress(i) + `"}`
	if i == 1 {
		addresses += `,{"local":"` + vip + `"}`
	}
	links := `[{"ifname":"lo","addr_info":[{"local":"127.0.0.1"}]},{"ifname":"eth0","addr_info":[` + addresses + `]}]`
	m := hosttest.New(headName(i)).
		File("/proc/uptime", "432000.00 400000.00\n").
		File("/proc/loadavg", "0.35 0.30 0.25 1/200 4711\n").
		File("/proc/self/mountinfo", "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n").
		File("/proc/meminfo", "MemTotal:       16384000 kB\n").
		File("/etc/os-release", "ID=debian\nVERSION_ID=\"13\"\nVERSION_CODENAME=trixie\n").
		Dir("/var/lib/mysql", "/var/lib/redis", "/var/lib/dpkg", "/var/lib/glusterd").
		File("/var/lib/dpkg/status", "").
		Answer("ip -j addr", links).
		OnQuery("systemctl show", systemctlShow)
	nodes := clusterNodes(i, heads)
	return m.OnDial("tcp", "127.0.0.1:6379", func(context.Context) (net.Conn, error) {
		near, far := net.Pipe()
		go redis(far, nodes, heads)
		return near, nil
	})
}

// systemctlShow answers for any unit: keepalived runs, others do not.
func systemctlShow(cmd host.Cmd) (string, error) {
	var props, units []string
	value := false
	for _, a := range cmd.Argv[2:] {
		switch {
		case strings.HasPrefix(a, "--property="):
			props = strings.Split(strings.TrimPrefix(a, "--property="), ",")
		case a == "--value":
			value = true
		case !strings.HasPrefix(a, "-"):
			units = append(units, a)
		}
	}
	var out []string
	for _, u := range units {
		have := map[string]string{"Id": u, "LoadState": "loaded", "ActiveState": "inactive"}
		if u == "keepalived.service" {
			have["ActiveState"] = "active"
		}
		var b strings.Builder
		for _, p := range props {
			if !value {
				b.WriteString(p + "=")
			}
			b.WriteString(have[p] + "\n")
		}
		out = append(out, b.String())
	}
	return strings.Join(out, "\n"), nil
}

// clusterNodes is what CLUSTER NODES says on head me: every head a master with
// its part of the slots.
func clusterNodes(me, heads int) string {
	var b strings.Builder
	for i := 1; i <= heads; i++ {
		flags := "master"
		if i == me {
			flags = "myself,master"
		}
		fmt.Fprintf(&b, "%040x %s:6379@16379 %s - 0 1700000000000 %d connected %d-%d\n",
			i, headAddress(i), flags, i, (i-1)*16384/heads, i*16384/heads-1)
	}
	return b.String()
}

// redis answers the questions that a look asks, in Redis' protocol.
func redis(c net.Conn, nodes string, heads int) {
	defer func() { _ = c.Close() }()
	r := bufio.NewReader(c)
	for {
		words, err := readCommand(r)
		if err != nil {
			return
		}
		bulk := func(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }
		answer := "-ERR unknown command\r\n"
		switch strings.ToUpper(strings.Join(words, " ")) {
		case "AUTH SIMULATED-REDIS-4":
			answer = "+OK\r\n"
		case "INFO":
			answer = bulk("redis_version:8.0.2\r\nredis_mode:cluster\r\ntcp_port:6379\r\nrole:master\r\nconnected_slaves:0\r\nloading:0\r\ncluster_enabled:1\r\n")
		case "CLUSTER INFO":
			answer = bulk(fmt.Sprintf("cluster_enabled:1\r\ncluster_state:ok\r\ncluster_slots_assigned:16384\r\ncluster_slots_ok:16384\r\ncluster_slots_pfail:0\r\ncluster_slots_fail:0\r\ncluster_known_nodes:%d\r\ncluster_size:%d\r\n", heads, heads))
		case "CLUSTER NODES":
			answer = bulk(nodes)
		case "CONFIG GET DIR":
			answer = "*2\r\n" + bulk("dir") + bulk("/var/lib/redis")
		}
		if _, err := io.WriteString(c, answer); err != nil {
			return
		}
	}
}

// readCommand reads one command: an array of bulk strings.
func readCommand(r *bufio.Reader) ([]string, error) {
	count, err := readLength(r, '*')
	if err != nil {
		return nil, err
	}
	words := make([]string, count)
	for i := range words {
		size, err := readLength(r, '$')
		if err != nil {
			return nil, err
		}
		b := make([]byte, size+2)
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, err
		}
		words[i] = string(b[:size])
	}
	return words, nil
}

func readLength(r *bufio.Reader, kind byte) (int, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(line[1:]))
	if err != nil || line[0] != kind || n < 0 || n > 1<<16 {
		return 0, fmt.Errorf("not a Redis command: %q", line)
	}
	return n, nil
}
