package host

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// names remembers what the numbers of owners and groups are called, for as long
// as the machine's own lists are what they were: whoever looks at the same files
// every second would read both lists for every one of them.
type names struct {
	mu    sync.Mutex
	lists [2]listStamp // of the lists that known was made from
	known map[string]knownName
}

// knownName is the name of a number; until is set where another than the
// machine's own lists gave it, or nothing did.
type knownName struct {
	name  string
	until time.Time
}

// foreignFor is how long a name is believed that the machine's own lists do not
// have: to ask for it is a process of its own.
const foreignFor = time.Minute

// listStamp is what changes when a list is written anew.
type listStamp struct {
	inode, size, changed int64
}

func stampOf(list string) listStamp {
	var st unix.Stat_t
	if unix.Stat(list, &st) != nil {
		return listStamp{}
	}
	return listStamp{int64(st.Ino), st.Size, st.Ctim.Nano()}
}

// fresh forgets what was read from lists that have changed since.
func (n *names) fresh() {
	lists := [2]listStamp{stampOf("/etc/passwd"), stampOf("/etc/group")}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.known == nil || n.lists != lists {
		n.lists, n.known = lists, map[string]knownName{}
	}
}

func (n *names) user(ctx context.Context, uid uint32) string {
	return n.lookup(ctx, "passwd", uid, func(id string) (string, error) {
		u, err := user.LookupId(id)
		if err != nil {
			return "", err
		}
		return u.Username, nil
	})
}

func (n *names) group(ctx context.Context, gid uint32) string {
	return n.lookup(ctx, "group", gid, func(id string) (string, error) {
		g, err := user.LookupGroupId(id)
		if err != nil {
			return "", err
		}
		return g.Name, nil
	})
}

func (n *names) lookup(ctx context.Context, db string, id uint32, local func(string) (string, error)) string {
	num := strconv.FormatUint(uint64(id), 10)
	n.mu.Lock()
	lists := n.lists
	have, ok := n.known[db+num]
	n.mu.Unlock()
	if ok && (have.until.IsZero() || time.Now().Before(have.until)) {
		return have.name
	}
	var found knownName
	var err error
	if found.name, err = local(num); err != nil {
		found = knownName{num, time.Now().Add(foreignFor)}
		if entry, ok := getent(ctx, db, num); ok {
			found.name = entry[0]
		}
	}
	n.mu.Lock()
	if n.lists == lists && n.known != nil {
		n.known[db+num] = found
	}
	n.mu.Unlock()
	return found.name
}

// ids are the numbers of an Attr's owner and group, -1 for what it leaves as
// it is.
func ids(ctx context.Context, a Attr) (uid, gid int, err error) {
	uid, uerr := id(ctx, "passwd", a.Owner, func(name string) (string, error) {
		u, err := user.Lookup(name)
		if err != nil {
			return "", err
		}
		return u.Uid, nil
	})
	gid, gerr := id(ctx, "group", a.Group, func(name string) (string, error) {
		g, err := user.LookupGroup(name)
		if err != nil {
			return "", err
		}
		return g.Gid, nil
	})
	return uid, gid, errors.Join(uerr, gerr)
}

func id(ctx context.Context, db, name string, local func(string) (string, error)) (int, error) {
	if name == "" {
		return -1, nil
	}
	if n, err := strconv.ParseUint(name, 10, 31); err == nil {
		return int(n), nil
	}
	num, err := local(name)
	if err != nil {
		entry, ok := getent(ctx, db, name)
		if !ok {
			return -1, fmt.Errorf("no %s %q on this machine", map[string]string{"passwd": "user", "group": "group"}[db], name)
		}
		num = entry[2]
	}
	n, err := strconv.ParseUint(num, 10, 31)
	if err != nil {
		return -1, fmt.Errorf("%s %q has the number %q", db, name, num)
	}
	return int(n), nil
}

// getent asks the system's name service, which knows LDAP and SSSD, where a
// static binary only reads /etc/passwd and /etc/group.
func getent(ctx context.Context, db, key string) ([]string, bool) {
	path, err := lookPath([]string{"getent"})
	if err != nil {
		return nil, false
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, db, key)
	cmd.Env = minimalEnv()
	cmd.WaitDelay = pipeGrace
	out, err := cmd.Output()
	if err != nil {
		return nil, false
	}
	entry := strings.Split(strings.TrimSpace(string(out)), ":")
	return entry, len(entry) >= 3 && entry[0] != ""
}
