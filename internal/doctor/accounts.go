package doctor

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"multihead/internal/config"
)

// accounts is who has which number on a host.
type accounts struct {
	users  map[string]ids // by name
	groups map[string]int
}

type ids struct{ uid, gid int }

func askAccounts(ctx context.Context, r *recorder) (accounts, error) {
	a := accounts{users: map[string]ids{}, groups: map[string]int{}}
	passwd, err := r.Query(ctx, "getent", "passwd")
	if err != nil {
		return a, err
	}
	group, err := r.Query(ctx, "getent", "group")
	if err != nil {
		return a, err
	}
	for line := range strings.Lines(passwd) {
		f := strings.Split(line, ":")
		if len(f) < 4 {
			continue
		}
		uid, err1 := strconv.Atoi(f[2])
		gid, err2 := strconv.Atoi(f[3])
		if err1 == nil && err2 == nil {
			a.users[f[0]] = ids{uid, gid}
		}
	}
	for line := range strings.Lines(group) {
		f := strings.Split(line, ":")
		if len(f) < 3 {
			continue
		}
		if gid, err := strconv.Atoi(f[2]); err == nil {
			a.groups[f[0]] = gid
		}
	}
	return a, nil
}

// holder is the other account or group that has one of the numbers, empty
// where they are free.
func (a accounts) holder(name string, want ids) string {
	for _, user := range sortedKeys(a.users) {
		if user != name && a.users[user].uid == want.uid {
			return fmt.Sprintf("the user id %d belongs to %s", want.uid, user)
		}
	}
	for _, group := range sortedKeys(a.groups) {
		if group != name && a.groups[group] == want.gid {
			return fmt.Sprintf("the group id %d belongs to the group %s", want.gid, group)
		}
	}
	return ""
}

// wish is an account that the cluster needs with the same numbers everywhere.
type wish struct {
	name string
	ids  ids
	key  string // where the cluster file gives the numbers
	// given says that the file does give them; otherwise those that the
	// hosts agree on stay.
	given bool
}

func wishes(c *config.Cluster) []wish {
	u := c.Users
	out := []wish{
		{u.SlurmUser, ids{u.SlurmUID, u.SlurmGID}, "users.slurm_uid", c.Has("users.slurm_uid")},
		{u.MungeUser, ids{u.MungeUID, u.MungeGID}, "users.munge_uid", c.Has("users.munge_uid")},
	}
	for _, p := range u.ClusterUsers {
		gid := p.GID
		if gid == 0 {
			gid = p.UID
		}
		out = append(out, wish{p.Name, ids{p.UID, gid}, "users.cluster_users (" + p.Name + ")", true})
	}
	return slices.DeleteFunc(out, func(w wish) bool { return w.name == "" })
}

// judgeAccounts wants every account of the cluster to have, or to be able to
// get, the same numbers on all hosts.
func judgeAccounts(c *config.Cluster, f *facts, all []*facts) Finding {
	fi := Finding{Check: checkAccounts, Level: OK, Asked: f.accounts.asked}
	if f.patient.Role == Witness {
		fi.Level = Skipped
		return fi
	}
	if f.accounts.err != nil {
		return fi.unknown(f.accounts.err)
	}
	var said []string
	for _, w := range wishes(c) {
		want := w.ids
		if !w.given {
			if agreed, ok := agreedOn(w.name, all); ok {
				want = agreed
			}
		}
		have, there := f.accounts.value.users[w.name]
		holder := f.accounts.value.holder(w.name, want)
		switch {
		case there && have == want:
			said = append(said, fmt.Sprintf("%s %d:%d", w.name, have.uid, have.gid))
		case holder != "":
			fi.worse(Fail, fmt.Sprintf("%s, which %s is to have", holder, w.name),
				fmt.Sprintf("give %s a number that is free on every host, such as %d, with %s", w.name, freeNumber(want.uid, all), w.key))
		case there:
			fi.worse(Warn, fmt.Sprintf("%s has %d:%d and is to have %d:%d", w.name, have.uid, have.gid, want.uid, want.gid),
				"up changes it where no daemon of it runs; else stop the daemon first, or set "+w.key+" to the number it has everywhere")
		default:
			said = append(said, fmt.Sprintf("%s is not there, %d:%d is free", w.name, want.uid, want.gid))
		}
	}
	fi.fine(strings.Join(said, ", "))
	return fi
}

// agreedOn are the numbers that every host with the account has, where no
// other account has them anywhere.
func agreedOn(name string, all []*facts) (ids, bool) {
	var found ids
	any := false
	for _, f := range all {
		have, ok := f.accounts.value.users[name]
		if !ok {
			continue
		}
		if any && have != found {
			return ids{}, false
		}
		found, any = have, true
	}
	if !any {
		return ids{}, false
	}
	for _, f := range all {
		if f.accounts.value.holder(name, found) != "" {
			return ids{}, false
		}
	}
	return found, true
}

// freeNumber is the next number down from want that no user and no group has
// on any host: system accounts are numbered downwards from 999.
func freeNumber(want int, all []*facts) int {
	for n := min(want, 999); n > 100; n-- {
		taken := slices.ContainsFunc(all, func(f *facts) bool {
			return f.accounts.value.holder("", ids{n, n}) != ""
		})
		if !taken && n != want {
			return n
		}
	}
	return 0
}
