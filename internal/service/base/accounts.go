package base

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"multihead/internal/service"
)

// account is a name with its numbers.
type account struct {
	Name     string
	UID, GID int
}

// database is the accounts and groups that a host knows.
type database struct {
	users  []account
	groups []account // GID alone
}

// user returns the account of that name.
func (d database) user(name string) (account, bool) {
	i := slices.IndexFunc(d.users, func(a account) bool { return a.Name == name })
	if i < 0 {
		return account{}, false
	}
	return d.users[i], true
}

// group returns the number of the group of that name.
func (d database) group(name string) (int, bool) {
	i := slices.IndexFunc(d.groups, func(a account) bool { return a.Name == name })
	if i < 0 {
		return 0, false
	}
	return d.groups[i].GID, true
}

// holder says who has a number that name wants: the other account or group.
func (d database) holder(name string, uid, gid int) string {
	for _, u := range d.users {
		if u.UID == uid && u.Name != name {
			return fmt.Sprintf("user id %d belongs to %s", uid, u.Name)
		}
	}
	for _, g := range d.groups {
		if g.GID == gid && g.Name != name {
			return fmt.Sprintf("group id %d belongs to the group %s", gid, g.Name)
		}
	}
	return ""
}

// parseAccounts reads the lines of passwd: name:x:uid:gid:…
func parseAccounts(text string) []account {
	var out []account
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 4 || f[0] == "" {
			continue
		}
		uid, err1 := strconv.Atoi(f[2])
		gid, err2 := strconv.Atoi(f[3])
		if err1 == nil && err2 == nil && uid >= 0 && gid >= 0 {
			out = append(out, account{f[0], uid, gid})
		}
	}
	return out
}

// parseGroups reads the lines of group: name:x:gid:members.
func parseGroups(text string) []account {
	var out []account
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 3 || f[0] == "" {
			continue
		}
		if gid, err := strconv.Atoi(f[2]); err == nil && gid >= 0 {
			out = append(out, account{Name: f[0], GID: gid})
		}
	}
	return out
}

// wish is an account that every host is to have.
type wish struct {
	account
	explicit bool   // the file gives the numbers, so existing ones do not change them
	key      string // where the file gives them, for the remedy
	// movable says that a running daemon of the account may be stopped for
	// a change of its numbers: munged, while no Slurm runs on that host.
	movable bool
	home    string // empty is none
	shell   string
	groups  []string
}

// tenant is what one host has of a wished account.
type tenant struct {
	host   string
	db     database
	busy   bool // a daemon of the account runs
	pinned bool // Slurm runs, so nothing of it may be stopped
}

// verdict is what is to be done on one host.
type verdict string

const (
	keep     verdict = "keep"     // it is so already
	create   verdict = "create"   // it is not there and its numbers are free
	renumber verdict = "renumber" // it is there with other numbers
	leave    verdict = "leave"    // it is there with other numbers that do no harm and cannot be changed now
)

// ruling is what was decided of one account.
type ruling struct {
	account          // with the numbers that hold
	adopted bool     // the numbers are those that were found, not the default
	by      []choice // one for each host, in the order given
}

// choice is what is to be done on one host.
type choice struct {
	host string
	do   verdict
	was  account // the numbers it has now, of keep, renumber and leave
}

// rule decides the numbers of an account and what each host needs for them.
//
// Numbers that the file gives are taken as they are. Otherwise the numbers
// that the hosts have already win, where all that have the account agree and
// the numbers are free on the others: nothing has to be changed then. A number
// that another account holds is refused, always. Changing the number of an
// account that has a running daemon is refused, unless the daemon is munged
// and no Slurm runs there, which can be restarted without anybody noticing.
func rule(w wish, hosts []tenant) (ruling, error) {
	r := ruling{account: w.account}
	if !w.explicit {
		if a, ok := agreed(w.Name, hosts); ok {
			r.adopted = a != w.account
			r.account = a
		}
	}
	for _, h := range hosts {
		c := choice{host: h.host}
		have, there := h.db.user(w.Name)
		if gid, ok := h.db.group(w.Name); ok && !there {
			have = account{w.Name, -1, gid}
		}
		c.was = have
		switch holder := h.db.holder(w.Name, r.UID, r.GID); {
		case there && have == r.account:
			c.do = keep
		case holder != "":
			return ruling{}, refusal(fmt.Sprintf("on %s, %s, which is to be that of %s", h.host, holder, w.Name),
				"Give "+w.Name+" a free number with "+w.key+" (multihead doctor lists the ones that are free everywhere), or give that account another number.")
		case !there && (have.Name == "" || have.GID == r.GID):
			c.do = create
		case h.pinned && w.movable && !w.explicit:
			// munged talks to its own host only; its number need not be
			// the others'. It is not worth a running cluster.
			c.do = leave
		case h.busy && (!w.movable || h.pinned):
			return ruling{}, refusal(fmt.Sprintf("on %s, %s has the numbers %s and a running daemon; they are to be %s", h.host, w.Name, have.numbers(), r.numbers()),
				"Stop that daemon (drain the node first where jobs run) and run up again, or set "+w.key+" to the numbers it has if they are the same on all hosts.")
		default:
			c.do = renumber
		}
		r.by = append(r.by, c)
	}
	return r, nil
}

// agreed returns the numbers that every host with the account has, where they
// are free on every other.
func agreed(name string, hosts []tenant) (account, bool) {
	var found account
	for _, h := range hosts {
		a, ok := h.db.user(name)
		switch {
		case !ok:
		case found.Name == "":
			found = a
		case found != a:
			return account{}, false
		}
	}
	if found.Name == "" {
		return account{}, false
	}
	for _, h := range hosts {
		if h.db.holder(name, found.UID, found.GID) != "" {
			return account{}, false
		}
	}
	return found, true
}

func (a account) numbers() string { return fmt.Sprintf("%d:%d", a.UID, a.GID) }

func refusal(reason, remedy string) error {
	return &service.Refusal{Service: "prepare", Reason: reason, Remedy: remedy}
}
