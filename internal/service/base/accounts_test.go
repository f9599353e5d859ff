package base

import (
	"errors"
	"strings"
	"testing"

	"multihead/internal/service"
)

func with(host, passwd, group string) tenant {
	return tenant{host: host, db: database{parseAccounts(passwd), parseGroups(group)}}
}

func TestRule(t *testing.T) {
	want := wish{account: account{"munge", 64031, 64031}, key: "users.munge_uid", movable: true}
	explicit := want
	explicit.explicit = true
	slurm := wish{account: account{"slurm", 64030, 64030}, key: "users.slurm_uid"}
	busy := func(t tenant) tenant { t.busy = true; return t }
	pinned := func(t tenant) tenant { t.busy, t.pinned = true, true; return t }
	none := func(h string) tenant {
		return with(h, "root:x:0:0::/root:/bin/sh\n", "root:x:0:\n")
	}
	munge := func(h, uid string) tenant {
		return with(h, "munge:x:"+uid+":"+uid+"::/nonexistent:/usr/sbin/nologin\n", "munge:x:"+uid+":\n")
	}
	for _, c := range []struct {
		name    string
		wish    wish
		hosts   []tenant
		numbers string
		do      string // of each host
		refused string
	}{
		{"nobody has it", want, []tenant{none("a"), none("b")}, "64031:64031", "create create", ""},
		{"all have it as wished", want, []tenant{munge("a", "64031"), munge("b", "64031")}, "64031:64031", "keep keep", ""},
		{"one number everywhere is adopted, and made where it is missing", want,
			[]tenant{munge("a", "105"), none("b"), munge("c", "105")}, "105:105", "keep create keep", ""},
		{"numbers of the file are not given up for what is found", explicit,
			[]tenant{munge("a", "105"), none("b")}, "64031:64031", "renumber create", ""},
		{"different numbers are made equal", want, []tenant{munge("a", "105"), busy(munge("b", "106"))}, "64031:64031", "renumber renumber", ""},
		{"what is adopted must be free on the others", want,
			[]tenant{munge("a", "105"), with("b", "sshd:x:105:65534::/:/x\n", "")}, "64031:64031", "renumber create", ""},
		{"munge under a running Slurm is left alone", want, []tenant{munge("a", "105"), pinned(munge("b", "106"))}, "64031:64031", "renumber leave", ""},
		{"unless the file gives the number", explicit, []tenant{pinned(munge("a", "105"))}, "", "", "running daemon"},
		{"slurm with a running daemon keeps its number", slurm,
			[]tenant{with("a", "slurm:x:64030:64030::/:/x\n", ""), busy(with("b", "slurm:x:998:998::/:/x\n", ""))}, "", "", "on b, slurm has the numbers 998:998"},
		{"slurm without one is renumbered", slurm,
			[]tenant{with("a", "slurm:x:64030:64030::/:/x\n", ""), with("b", "slurm:x:998:998::/:/x\n", "")}, "64030:64030", "keep renumber", ""},
		{"a user id taken by another", want, []tenant{none("a"), with("b", "backup:x:64031:5::/:/x\n", "")}, "", "", "on b, user id 64031 belongs to backup"},
		{"a group id taken by another", want, []tenant{with("a", "", "tape:x:64031:\n")}, "", "", "group id 64031 belongs to the group tape"},
		{"a group without its user, right number", want, []tenant{with("a", "", "munge:x:64031:\n")}, "64031:64031", "create", ""},
		{"a group without its user, other number", want, []tenant{with("a", "", "munge:x:77:\n")}, "64031:64031", "renumber", ""},
		{"the right user id with another group", want, []tenant{with("a", "munge:x:64031:100::/:/x\n", ""), munge("b", "64031")}, "64031:64031", "renumber keep", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := rule(c.wish, c.hosts)
			if c.refused != "" {
				var ref *service.Refusal
				if !errors.As(err, &ref) || !strings.Contains(ref.Reason, c.refused) || !strings.Contains(ref.Remedy, c.wish.key) {
					t.Fatalf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var do []string
			for _, b := range r.by {
				do = append(do, string(b.do))
			}
			if r.numbers() != c.numbers || strings.Join(do, " ") != c.do {
				t.Errorf("got %s %v, want %s %s", r.numbers(), do, c.numbers, c.do)
			}
		})
	}
}

func FuzzParseAccounts(f *testing.F) {
	f.Add("root:x:0:0:root:/root:/bin/bash\nbad\n:x:1:1\nx:y:-1:2\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, a := range append(parseAccounts(text), parseGroups(text)...) {
			if a.Name == "" || a.UID < 0 || a.GID < 0 {
				t.Fatalf("%+v", a)
			}
		}
	})
}
