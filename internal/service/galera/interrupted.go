package galera

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"

	"multihead/internal/service"
)

// Galera takes its word back in grastate.dat (no identity, no position) before it lets a
// statement change tables (DDL), and gives it again afterwards. A head that loses its
// power in between has all its rows, and the file of one that never was part of anything.
// So what InnoDB itself says is asked for (galera_recovery) and written beside it, as a
// comment: Galera overwrites it when it starts, and sends such a node a whole copy, for
// nobody knows whether its tables are those of before the change or after.
//
// A node that was voted out, because its data differed, has the same file. It has left in
// order, and what it saw last of the cluster (gvwstate.dat) went with it; one that dies in
// a change of tables still has it. One that asked for a state transfer has the same file
// too; it is a part of a copy by the marks of that, and whoever it asked has more.

// seenAside is where interrupted.sh keeps what such a head saw last of the cluster, so that
// Galera does not go by it.
const seenAside = "gvwstate.dat.interrupted"

// gtid is an identity and how far data goes under it.
type gtid struct {
	uuid  string // empty where it is not known
	seqno int64
}

// interrupted says whether it is data of a member that was stopped while tables were
// changed.
func (d disk) interrupted() bool {
	member := len(d.last.members) > 0 || d.found.uuid != ""
	return d.hasState && d.state.uuid == "" && d.data == service.Yes && member && d.found.uuid != noUUID
}

// goesTo is what the data is of, and how far it goes; negative is unknown.
func (d disk) goesTo() gtid {
	switch {
	case !d.interrupted():
		return gtid{d.state.uuid, d.state.seqno}
	case d.found.uuid == "":
		return gtid{seqno: -1}
	}
	return d.found
}

// anew is the identity under which a cluster goes on that begins on such a head; empty
// for any other. Its tables are of before the change that it was at or of after it, and
// so are the others', each for itself: only a new identity has them sent whole copies.
func (n node) anew(stamp string) string {
	if !n.disk.interrupted() {
		return ""
	}
	at := n.disk.goesTo()
	return successor(at.uuid, at.seqno, n.name+" "+stamp)
}

// unread says whether what InnoDB says of a head that was interrupted is still to be
// found out.
func (n node) unread() bool {
	return n.stands != answering && n.disk.interrupted() && n.disk.found.uuid == ""
}

var foundLine = regexp.MustCompile(`(?m)^[ \t]*# InnoDB goes up to ([0-9a-f-]{36}):(-1|[0-9]+)[ \t]*\n?`)

// nowhere is what InnoDB says of data that never was part of a cluster.
var nowhere = gtid{noUUID, -1}

// parseFound reads what was written beside the state; the zero gtid where nothing was.
func parseFound(b []byte) gtid {
	m := foundLine.FindSubmatch(b)
	if m == nil || !uuidForm.Match(m[1]) {
		return gtid{}
	}
	seqno, err := strconv.ParseInt(string(m[2]), 10, 64)
	if at := (gtid{string(m[1]), seqno}); err == nil && (at == nowhere || at.uuid != noUUID && seqno >= 0) {
		return at
	}
	return gtid{}
}

// markFound returns the content of grastate.dat with what InnoDB says, and everything
// else as it is.
func markFound(b []byte, at gtid) []byte {
	b = bytes.TrimRight(foundLine.ReplaceAll(b, nil), " \t\n")
	return fmt.Appendf(b, "\n# InnoDB goes up to %s:%d\n", at.uuid, at.seqno)
}
