package galera

import (
	"regexp"
	"slices"
	"strings"

	"multihead/internal/config"
	"multihead/internal/plan"
	"multihead/internal/service"
)

var _ service.Rotator = (*State)(nil)

// passwordHash is what the server keeps of a password. Packages write words such as
// "invalid" there, which no password has.
var passwordHash = regexp.MustCompile(`^\*[0-9A-F]{40}$`)

// isPassword says whether somebody may prove who they are in that way by a password.
func (m method) isPassword() bool {
	return m.Plugin == methodPassword && passwordHash.MatchString(m.Secret)
}

// besides is the passwords of an account that it should not have: of a rotation
// that is not finished.
func besides(have, want []method) []method {
	return slices.DeleteFunc(slices.Clone(have), func(m method) bool { return !m.isPassword() || slices.Contains(want, m) })
}

// Accept implements service.Rotator: an account may have several passwords
// (MariaDB 10.4 and later), and the cluster carries them to all nodes.
func (s *State) Accept(next *config.Cluster) (plan.Phase, error) {
	later := *s
	later.conf = next.Database.MariaDB
	return s.rotate("mariadb.accept", "accept the new passwords of accounts beside those in use", func(h has) []change { return later.wanted().accepting(h) })
}

// Retire implements service.Rotator.
func (s *State) Retire() (plan.Phase, error) {
	return s.rotate("mariadb.retire", "accept the passwords of the file alone", func(h has) []change { return s.wanted().retiring(h) })
}

// accepting lists what gives accounts that are there the wanted passwords, and takes
// none from them.
func (w wants) accepting(h has) []change {
	return w.altered(h, func(have, want []method) []method {
		if hasMethods(have, want) {
			return nil
		}
		return append(slices.Clone(want), besides(have, want)...)
	})
}

// retiring lists what takes all other passwords from them. An account that does not
// have the wanted one yet is left alone: somebody would be shut out.
func (w wants) retiring(h has) []change {
	return w.altered(h, func(have, want []method) []method {
		if !hasMethods(have, want) || len(besides(have, want)) == 0 {
			return nil
		}
		return want
	})
}

// altered lists the accounts for which to says other ways of proving themselves.
func (w wants) altered(h has, to func(have, want []method) []method) []change {
	var out []change
	for _, a := range w.accounts {
		i := slices.IndexFunc(h.accounts, func(b account) bool { return a.user == b.user && a.host == b.host })
		if i < 0 || a.more {
			continue
		}
		methods := to(h.accounts[i].methods, a.methods)
		if methods == nil {
			continue
		}
		c := change{do: "ALTER USER " + a.name() + identified(methods)}
		if rest, ok := strings.CutPrefix(h.created[a.name()], "CREATE USER "); ok {
			c.undo = "ALTER USER " + rest
		}
		out = append(out, c)
	}
	return out
}

// rotate is a step on one node that has all data.
func (s *State) rotate(id, what string, differ func(has) []change) (plan.Phase, error) {
	var ph plan.Phase
	if len(s.nodes) == 0 {
		return ph, nil
	}
	i := slices.IndexFunc(s.nodes, func(n node) bool { return n.reached && n.stands == answering && n.status.synced() })
	if i < 0 {
		return ph, &service.Refusal{Service: config.MariaDB, Reason: "no head has a database that takes statements",
			Remedy: "Bring it back first: multihead status, multihead recover."}
	}
	n := s.nodes[i]
	action := s.onAccounts(n, s.wanted(), what, differ, everywhere)
	ph.Stages = []plan.Stage{{Name: "accounts", Steps: []plan.Step{{ID: id, Host: n.name, Action: action}}}}
	return ph, nil
}
