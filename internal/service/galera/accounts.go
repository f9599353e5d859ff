package galera

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// account is one name at one place a client may come from.
type account struct {
	user, host string
	methods    []method
	more       bool // it may have other methods besides
	grants     []grant
}

// grant is rights on an object, as GRANT and SHOW GRANTS write them.
type grant struct {
	rights []string
	object string // "*.*" or "`name`.*"
}

// wants is what the file asks of the database.
type wants struct {
	databases []string
	accounts  []account
}

// transferRights are what mariadb-backup needs of the donor: to flush and lock
// (RELOAD covers BACKUP STAGE), to see what runs, and to read where the
// server's logs are.
var transferRights = []string{"RELOAD", "PROCESS", "LOCK TABLES", "BINLOG MONITOR", "SLAVE MONITOR"}

// transferAccount is who state transfers are made as: the database's account
// for the system's account of the same name, as which mariadbd runs its scripts.
// The server lets it in by its process (unix_socket) and makes it itself when it
// is installed. Servers of Debian 12 know no other way without a password: they
// let nobody in under another name.
const transferAccount = "mysql"

// wanted lists the databases and accounts of the file.
//
// A database's user may come from the head itself and from the cluster's own
// networks, and from nowhere else: what listens on every address is guarded by
// this alone where no firewall is.
func (s *State) wanted() wants {
	var w wants
	for _, d := range s.conf.Databases {
		w.databases = append(w.databases, d.Name)
		for _, from := range clientHosts(s.nets) {
			g := grant{[]string{"ALL PRIVILEGES"}, quoteName(escapeWild(d.Name)) + ".*"}
			if i := slices.IndexFunc(w.accounts, func(a account) bool { return a.user == d.User && a.host == from }); i >= 0 {
				w.accounts[i].grants = append(w.accounts[i].grants, g)
				continue
			}
			w.accounts = append(w.accounts, account{user: d.User, host: from,
				methods: []method{{methodPassword, nativeHash(d.Password.Reveal())}}, grants: []grant{g}})
		}
	}
	if s.conf.Galera.SSTMethod == "mariabackup" {
		w.accounts = append(w.accounts, account{user: transferAccount, host: "localhost", more: true,
			methods: []method{{"unix_socket", ""}}, grants: []grant{{transferRights, "*.*"}}})
	}
	if !s.conf.RootPassword.IsZero() {
		// Root of the host stays root of the database without a password.
		w.accounts = append(w.accounts, account{user: "root", host: "localhost",
			methods: []method{{"unix_socket", ""}, {methodPassword, nativeHash(s.conf.RootPassword.Reveal())}}})
	}
	return w
}

// clientHosts writes networks the way accounts name them.
func clientHosts(nets []netip.Prefix) []string {
	out := []string{"localhost", "127.0.0.1"}
	for _, p := range nets {
		if p.IsSingleIP() {
			out = append(out, p.Addr().String())
			continue
		}
		mask := uint32(0xffffffff) << (32 - p.Bits())
		out = append(out, fmt.Sprintf("%s/%d.%d.%d.%d", p.Addr(), byte(mask>>24), byte(mask>>16), byte(mask>>8), byte(mask)))
	}
	return out
}

// has is what the server has of it.
type has struct {
	databases []string
	accounts  []account
	// created is SHOW CREATE USER of the accounts that are there, by name.
	created map[string]string
}

// change is one statement and what takes it back. Neither has a password: both
// speak of hashes.
type change struct {
	do, undo string
	drops    string // the database that undo drops, so that it can be checked to be empty
}

// changes lists what is missing.
func (w wants) changes(h has) []change {
	var out []change
	for _, d := range w.databases {
		if !slices.Contains(h.databases, d) {
			out = append(out, change{do: "CREATE DATABASE IF NOT EXISTS " + quoteName(d) + " CHARACTER SET utf8mb4",
				undo: "DROP DATABASE IF EXISTS " + quoteName(d), drops: d})
		}
	}
	for _, a := range w.accounts {
		out = append(out, a.changes(h)...)
	}
	return out
}

func (a account) changes(h has) []change {
	i := slices.IndexFunc(h.accounts, func(b account) bool { return a.user == b.user && a.host == b.host })
	if i < 0 {
		out := []change{{do: "CREATE USER IF NOT EXISTS " + a.name() + identified(a.methods), undo: "DROP USER IF EXISTS " + a.name()}}
		for _, g := range a.grants {
			out = append(out, change{do: g.statement("GRANT", "TO", a)})
		}
		return out
	}
	var out []change
	have := h.accounts[i]
	// A second password beside the wanted one is that of a rotation that a person
	// has not finished: clients may still use it.
	if !hasMethods(have.methods, a.methods) || !a.more && len(have.methods) != len(a.methods)+len(besides(have.methods, a.methods)) {
		c := change{do: "ALTER USER " + a.name() + identified(a.methods)}
		if rest, ok := strings.CutPrefix(h.created[a.name()], "CREATE USER "); ok {
			c.undo = "ALTER USER " + rest
		}
		out = append(out, c)
	}
	for _, g := range a.grants {
		if !slices.ContainsFunc(have.grants, g.within) {
			out = append(out, change{do: g.statement("GRANT", "TO", a), undo: g.statement("REVOKE", "FROM", a)})
		}
	}
	return out
}

// within says whether held gives all of g.
func (g grant) within(held grant) bool {
	if held.object != g.object && unescapeWild(held.object) != unescapeWild(g.object) {
		return false
	}
	if slices.Contains(held.rights, "ALL PRIVILEGES") {
		return true
	}
	for _, r := range g.rights {
		if !slices.Contains(held.rights, r) {
			return false
		}
	}
	return true
}

func (g grant) statement(verb, preposition string, a account) string {
	return fmt.Sprintf("%s %s ON %s %s %s", verb, strings.Join(g.rights, ", "), g.object, preposition, a.name())
}

func (a account) name() string { return quoteText(a.user) + "@" + quoteText(a.host) }

func identified(methods []method) string {
	words := make([]string, len(methods))
	for i, m := range methods {
		words[i] = m.Plugin
		if m.Secret != "" {
			words[i] += " USING " + quoteText(m.Secret)
		}
	}
	return " IDENTIFIED VIA " + strings.Join(words, " OR ")
}

var grantLine = regexp.MustCompile("^GRANT (.+?) ON (.+?) TO [`'\"]")

// parseGrant reads a line of SHOW GRANTS; ok is false for one that grants
// something else, a role or a proxy.
func parseGrant(line string) (g grant, ok bool) {
	m := grantLine.FindStringSubmatch(line)
	if m == nil {
		return grant{}, false
	}
	for _, r := range strings.Split(m[1], ",") {
		g.rights = append(g.rights, strings.TrimSpace(r))
	}
	g.object = m[2]
	return g, true
}

func quoteName(s string) string { return "`" + strings.ReplaceAll(s, "`", "``") + "`" }

func quoteText(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// escapeWild makes a database's name match itself alone: in a grant, _ and %
// stand for any characters.
func escapeWild(s string) string {
	return strings.NewReplacer(`\`, `\\`, `_`, `\_`, `%`, `\%`).Replace(s)
}

func unescapeWild(s string) string {
	return strings.NewReplacer(`\\`, `\`, `\_`, `_`, `\%`, `%`).Replace(s)
}
