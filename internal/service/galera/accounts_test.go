package galera

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"multihead/internal/config"
	"multihead/internal/golden"
)

func TestNativeHash(t *testing.T) {
	// PASSWORD('password') of any MariaDB.
	if got := nativeHash("password"); got != "*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19" {
		t.Error(got)
	}
}

func TestParseMethods(t *testing.T) {
	tests := []struct {
		name, in string
		want     []method
	}{
		{"a password", `{"access":0,"plugin":"mysql_native_password","authentication_string":"*24"}`, []method{{methodPassword, "*24"}}},
		{"a password first, the socket second", `{"plugin":"mysql_native_password","authentication_string":"invalid","auth_or":[{},{"plugin":"unix_socket"}]}`,
			[]method{{methodPassword, "invalid"}, {"unix_socket", ""}}},
		{"the socket first", `{"plugin":"mysql_native_password","authentication_string":"*24","auth_or":[{"plugin":"unix_socket"},{}]}`,
			[]method{{"unix_socket", ""}, {methodPassword, "*24"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseMethods([]byte(tt.in))
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%v %v", got, err)
			}
		})
	}
	if _, err := parseMethods([]byte("{")); err == nil {
		t.Error("half a record is taken")
	}
}

func TestParseGrant(t *testing.T) {
	tests := []struct {
		in   string
		want grant
		ok   bool
	}{
		{"GRANT ALL PRIVILEGES ON `slurm\\_acct\\_db`.* TO `slurm`@`localhost`", grant{[]string{"ALL PRIVILEGES"}, "`slurm\\_acct\\_db`.*"}, true},
		{"GRANT RELOAD, PROCESS, LOCK TABLES ON *.* TO `sst_sync`@`localhost` IDENTIFIED VIA unix_socket USING 'mysql'", grant{[]string{"RELOAD", "PROCESS", "LOCK TABLES"}, "*.*"}, true},
		{"GRANT PROXY ON ''@'%' TO 'root'@'localhost' WITH GRANT OPTION", grant{[]string{"PROXY"}, "''@'%'"}, true},
		{"GRANT `role` TO `u`@`localhost`", grant{}, false},
		{"", grant{}, false},
	}
	for _, tt := range tests {
		got, ok := parseGrant(tt.in)
		if ok != tt.ok || ok && !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q: %+v %v", tt.in, got, ok)
		}
	}
}

func FuzzParseGrant(f *testing.F) {
	f.Add("GRANT ALL PRIVILEGES ON `a`.* TO `u`@`h`")
	f.Fuzz(func(t *testing.T, s string) {
		if g, ok := parseGrant(s); ok && (len(g.rights) == 0 || g.object == "") {
			t.Errorf("%q: %+v", s, g)
		}
	})
}

func withDatabases() *State {
	s := stateOf(blank("s1"), blank("s2"))
	s.conf.RootPassword = config.NewSecret("root-canary")
	s.conf.Databases = []config.DatabaseSpec{
		{Name: "slurm_acct_db", User: "slurm", Password: config.NewSecret("slurm-canary")},
		{Name: "portal", User: "slurm", Password: config.NewSecret("slurm-canary")},
	}
	return s
}

// server is what a server has after the changes that were asked for.
func server(w wants) has {
	h := has{databases: slices.Clone(w.databases), accounts: slices.Clone(w.accounts), created: map[string]string{}}
	return h
}

func TestAccountsOnAnEmptyServer(t *testing.T) {
	w := withDatabases().wanted()
	changes := w.changes(has{})
	var text []string
	for _, c := range changes {
		text = append(text, c.do+"\n    back: "+c.undo)
	}
	all := strings.Join(text, "\n") + "\n"
	golden.Check(t, "testdata/accounts.sql", []byte(all))
	if strings.Contains(all, "canary") {
		t.Error("a password stands in a statement")
	}
}

func TestAccountsThatAreThereAreLeftAlone(t *testing.T) {
	w := withDatabases().wanted()
	if c := w.changes(server(w)); len(c) > 0 {
		t.Errorf("%+v", c)
	}
}

func TestAccountsMadeByHandCountAsWell(t *testing.T) {
	w := withDatabases().wanted()
	h := server(w)
	for i := range h.accounts {
		h.accounts[i].grants = nil
		for _, g := range w.accounts[i].grants {
			g.object = unescapeWild(g.object) // as most guides write it
			h.accounts[i].grants = append(h.accounts[i].grants, g)
		}
	}
	if c := w.changes(h); len(c) > 0 {
		t.Errorf("%+v", c)
	}
}

func TestAnotherPasswordInTheFileIsAChangeThatCanBeTakenBack(t *testing.T) {
	s := withDatabases()
	h := server(s.wanted())
	h.created["'root'@'localhost'"] = "CREATE USER `root`@`localhost` IDENTIFIED VIA unix_socket OR mysql_native_password USING '*OLD'"
	s.conf.RootPassword = config.NewSecret("other")
	c := s.wanted().changes(h)
	if len(c) != 1 || c[0].do != "ALTER USER 'root'@'localhost' IDENTIFIED VIA unix_socket OR mysql_native_password USING '"+nativeHash("other")+"'" ||
		c[0].undo != "ALTER USER `root`@`localhost` IDENTIFIED VIA unix_socket OR mysql_native_password USING '*OLD'" {
		t.Errorf("%+v", c)
	}
}

func TestAMissingRightIsGrantedAndTakenBack(t *testing.T) {
	w := withDatabases().wanted()
	h := server(w)
	for i, a := range h.accounts {
		if a.user == "mysql" {
			h.accounts[i].grants = []grant{{[]string{"PROCESS"}, "*.*"}}
		}
	}
	c := w.changes(h)
	if len(c) != 1 || !strings.HasPrefix(c[0].do, "GRANT RELOAD, PROCESS") || !strings.HasPrefix(c[0].undo, "REVOKE RELOAD, PROCESS") {
		t.Errorf("%+v", c)
	}
}

func TestNamesCannotLeaveTheirQuotes(t *testing.T) {
	s := stateOf(blank("s1"))
	s.nets = nil
	s.conf.Databases = []config.DatabaseSpec{{Name: "a`b_%", User: `o'x\`, Password: config.NewSecret("x")}}
	for _, c := range s.wanted().changes(has{}) {
		if strings.Contains(c.do, "CREATE DATABASE") && !strings.Contains(c.do, "`a``b_%`") ||
			strings.HasPrefix(c.do, "CREATE USER IF NOT EXISTS 'o") && !strings.Contains(c.do, `'o\'x\\'@`) ||
			strings.HasPrefix(c.do, "GRANT ALL") && !strings.Contains(c.do, "`a``b\\_\\%`.*") {
			t.Error(c.do)
		}
	}
}

func TestTheServersOwnTransferAccountIsLeftAlone(t *testing.T) {
	w := withDatabases().wanted()
	h := server(w)
	for i, a := range h.accounts {
		if a.user == "mysql" { // as the package makes it
			h.accounts[i].methods = []method{{methodPassword, "invalid"}, {"unix_socket", ""}}
			h.accounts[i].grants = []grant{{[]string{"ALL PRIVILEGES"}, "*.*"}}
		}
	}
	if c := w.changes(h); len(c) > 0 {
		t.Errorf("%+v", c)
	}
}

func TestClientsComeFromTheClusterAlone(t *testing.T) {
	nets := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.128/26"), netip.MustParsePrefix("203.0.113.7/32")}
	want := []string{"localhost", "127.0.0.1", "192.0.2.0/255.255.255.0", "198.51.100.128/255.255.255.192", "203.0.113.7"}
	if got := clientHosts(nets); !slices.Equal(got, want) {
		t.Error(got)
	}
}

// A password changes in two steps, between which both are good; up undoes neither.
func TestPasswordsOverlap(t *testing.T) {
	s := withDatabases()
	h := server(s.wanted())
	was := nativeHash("slurm-canary")
	next := withDatabases()
	for i := range next.conf.Databases {
		next.conf.Databases[i].Password = config.NewSecret("next-canary")
	}
	now := nativeHash("next-canary")
	w := next.wanted()
	alter := func(c []change, how string) {
		t.Helper()
		want := 0
		for _, a := range w.accounts {
			if a.user == "slurm" {
				want++
			}
		}
		if len(c) != want || want == 0 {
			t.Fatalf("%d changes, not %d: %+v", len(c), want, c)
		}
		for _, one := range c {
			if !strings.HasSuffix(one.do, how) || strings.Contains(one.do, "canary") {
				t.Errorf("%s", one.do)
			}
		}
	}
	both := "IDENTIFIED VIA mysql_native_password USING '" + now + "' OR mysql_native_password USING '" + was + "'"
	alter(w.accepting(h), both)
	if c := w.retiring(h); len(c) > 0 {
		t.Errorf("an account without the new password loses the old one: %+v", c)
	}
	for i, a := range h.accounts {
		if a.user == "slurm" {
			h.accounts[i].methods = []method{{methodPassword, now}, {methodPassword, was}}
		}
	}
	if c := append(w.accepting(h), w.changes(h)...); len(c) > 0 {
		t.Errorf("with both, this is changed: %+v", c)
	}
	alter(w.retiring(h), "IDENTIFIED VIA mysql_native_password USING '"+now+"'")
}

// Words of packages that stand in a password's place are none.
func TestWhatNoPasswordHasIsNotKept(t *testing.T) {
	want := []method{{"unix_socket", ""}, {methodPassword, nativeHash("x")}}
	have := []method{{methodPassword, "invalid"}, {"unix_socket", ""}, {methodPassword, ""}, {methodPassword, nativeHash("old")}}
	if got := besides(have, want); len(got) != 1 || got[0].Secret != nativeHash("old") {
		t.Errorf("%+v", got)
	}
}
