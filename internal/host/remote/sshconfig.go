package remote

import (
	"errors"
	"fmt"
	"io/fs"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/kevinburke/ssh_config"
)

// sshConfig is the person's ssh_config and the system's, in that order. The
// first value found wins, as for ssh(1).
type sshConfig struct {
	files []*ssh_config.Config
	home  string
}

// loadSSHConfig reads the files that exist.
func loadSSHConfig(home string, paths []string) (*sshConfig, error) {
	c := &sshConfig{home: home}
	for _, path := range paths {
		text, err := c.readSSHConfig(path, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("ssh_config: %w", err)
		}
		parsed, err := ssh_config.DecodeBytes(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		c.files = append(c.files, parsed)
	}
	return c, nil
}

// get is the first value of key for an alias.
func (c *sshConfig) get(key, alias string) string {
	if v := c.all(key, alias); len(v) > 0 {
		return v[0]
	}
	return ""
}

func (c *sshConfig) all(key, alias string) []string {
	var out []string
	for _, f := range c.files {
		if v, err := f.GetAll(alias, key); err == nil {
			out = append(out, v...)
		}
	}
	return out
}

// alias is what the person would type to reach a target: its name or its
// address, whichever they have written down. What is said of every host ("*")
// counts for neither.
func (c *sshConfig) alias(t Target) string {
	for _, name := range []string{t.Name, t.Address} {
		for _, f := range c.files {
			for _, h := range f.Hosts {
				named := slices.ContainsFunc(h.Patterns, func(p *ssh_config.Pattern) bool { return p.String() != "*" })
				if named && name != "" && h.Matches(name) {
					return name
				}
			}
		}
	}
	return t.Name
}

// endpoint is where and as whom a host, or a jump host, is reached.
type endpoint struct {
	name       string // as people call it
	host       string // name or address to connect to
	port       int
	user       string
	keys       []string // private key files, in the order to try
	only       bool     // IdentitiesOnly: no other keys of the agent
	jumps      []string // each as in ProxyJump, outermost first
	behind     []string // of a jump host: the jumps that are being made through it
	known      []string // UserKnownHostsFile
	keyAlias   string   // HostKeyAlias
	isJump     bool     // it is only on the way
	keyOnly    bool     // log in with keys alone
	overridden bool     // ssh_config sends it elsewhere than the cluster file says
}

func (e endpoint) addr() string { return e.host + ":" + strconv.Itoa(e.port) }

// hostPort is addr in the form that net.Dial takes.
func (e endpoint) hostPort() string {
	if strings.Contains(e.host, ":") {
		return "[" + e.host + "]:" + strconv.Itoa(e.port)
	}
	return e.addr()
}

// resolve merges a target with ssh_config: the cluster file says who and
// where; ssh_config says how to get there. A default in the cluster file
// (port 22) gives way to ssh_config.
func (c *sshConfig) resolve(t Target) (endpoint, error) {
	alias := c.alias(t)
	if proxy := c.get("ProxyCommand", alias); proxy != "" && proxy != "none" {
		return endpoint{}, errors.New("ssh_config has a ProxyCommand for it, which is not supported: use ProxyJump")
	}
	e := endpoint{name: t.Name, host: t.Address, port: t.Port, user: t.User, keyAlias: c.get("HostKeyAlias", alias)}
	if e.host == "" {
		e.host = t.Name
	}
	if h := c.get("HostName", alias); h != "" {
		h = strings.ReplaceAll(h, "%h", t.Name)
		e.overridden = h != e.host && t.Address != ""
		e.host = h
	}
	if err := c.fill(&e, alias); err != nil {
		return e, err
	}
	if t.KeyFile != "" {
		e.keys = append([]string{c.expand(t.KeyFile)}, e.keys...)
	}
	return e, nil
}

// fill sets what the endpoint leaves open.
func (c *sshConfig) fill(e *endpoint, alias string) error {
	if e.user == "" {
		if e.user = c.get("User", alias); e.user == "" {
			me, err := user.Current()
			if err != nil {
				return err
			}
			e.user = me.Username
		}
	}
	if e.port == 0 || e.port == defaultPort {
		e.port = defaultPort
		if p := c.get("Port", alias); p != "" {
			n, err := strconv.ParseUint(p, 10, 16)
			if err != nil || n == 0 {
				return fmt.Errorf("ssh_config: Port %q", p)
			}
			e.port = int(n)
		}
	}
	for _, k := range c.all("IdentityFile", alias) {
		e.keys = append(e.keys, c.expand(k))
	}
	e.only = strings.EqualFold(c.get("IdentitiesOnly", alias), "yes")
	for _, k := range strings.Fields(c.get("UserKnownHostsFile", alias)) {
		e.known = append(e.known, c.expand(k))
	}
	if j := c.get("ProxyJump", alias); j != "" && !strings.EqualFold(j, "none") {
		e.jumps = strings.Split(j, ",")
	}
	return nil
}

// jump reads one hop of ProxyJump, [user@]host[:port] or an ssh:// address.
// The host is an alias itself.
func (c *sshConfig) jump(spec string) (endpoint, error) {
	s := strings.TrimPrefix(strings.TrimSpace(spec), "ssh://")
	e := endpoint{isJump: true}
	if at := strings.LastIndexByte(s, '@'); at >= 0 {
		e.user, s = s[:at], s[at+1:]
	}
	s = strings.TrimSuffix(s, "/")
	switch {
	case strings.HasPrefix(s, "["): // [2001:db8::1]:22
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return e, fmt.Errorf("ProxyJump %q", spec)
		}
		e.host, s = s[1:end], strings.TrimPrefix(s[end+1:], ":")
	case strings.Count(s, ":") == 1:
		e.host, s, _ = strings.Cut(s, ":")
	default:
		e.host, s = s, ""
	}
	if s != "" {
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil || n == 0 {
			return e, fmt.Errorf("ProxyJump %q: port %q", spec, s)
		}
		e.port = int(n)
	}
	if e.host == "" {
		return e, fmt.Errorf("ProxyJump %q names no host", spec)
	}
	e.name = e.host
	alias := e.host
	e.keyAlias = c.get("HostKeyAlias", alias)
	if h := c.get("HostName", alias); h != "" {
		e.host = strings.ReplaceAll(h, "%h", e.host)
	}
	return e, c.fill(&e, alias)
}

// expand resolves ~ and %d, the person's home directory.
func (c *sshConfig) expand(path string) string {
	path = strings.ReplaceAll(path, "%d", c.home)
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		return filepath.Join(c.home, rest)
	}
	return path
}

const defaultPort = 22
