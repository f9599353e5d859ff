package base

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// The markers around what multihead keeps in a file that is otherwise the
// site's own.
const (
	blockBegin = "# BEGIN multihead"
	blockEnd   = "# END multihead"
)

// errMarkers is a block that a person has cut in half: where it ends, and so
// what is theirs, cannot be known.
var errMarkers = errors.New("the markers \"" + blockBegin + "\" and \"" + blockEnd + "\" do not come in one pair")

// splitBlock returns what stands before and after the block. Without a block
// all of it is before.
func splitBlock(old []byte) (before, after []byte, found bool, err error) {
	begin, end := -1, -1
	at := 0
	for line := range bytes.Lines(old) {
		switch string(bytes.TrimSpace(line)) {
		case blockBegin:
			if begin >= 0 {
				return nil, nil, false, errMarkers
			}
			begin = at
		case blockEnd:
			if begin < 0 || end >= 0 {
				return nil, nil, false, errMarkers
			}
			end = at + len(line)
		}
		at += len(line)
	}
	switch {
	case begin < 0 && end < 0:
		return old, nil, false, nil
	case end < 0:
		return nil, nil, false, errMarkers
	}
	return old[:begin], old[end:], true, nil
}

// withBlock puts body between the markers: in the place of the block that is
// there, or else at the end. Every other byte stays.
func withBlock(old, body []byte) ([]byte, error) {
	before, after, found, err := splitBlock(old)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.Write(before)
	if !found && b.Len() > 0 {
		if !bytes.HasSuffix(before, []byte("\n")) {
			b.WriteByte('\n')
		}
	}
	b.WriteString(blockBegin + "\n")
	b.Write(body)
	b.WriteString(blockEnd + "\n")
	b.Write(after)
	return b.Bytes(), nil
}

// entry is one line of the block in /etc/hosts.
type entry struct {
	addr  netip.Addr
	names []string
}

// mergeHosts returns /etc/hosts with our block, and what had to be changed in
// the lines of others.
//
// The C library takes the first line that has a name. A line of others that
// gives one of our names another address would therefore win or lose by its
// place, and Debian's own "127.0.1.1 HOSTNAME" makes slurmctld and glusterd
// tell the others to reach them at a loopback address. Such a name is taken
// out of such a line; the line's other names stay, and a line that has none
// left is commented out.
func mergeHosts(old []byte, entries []entry) (merged []byte, changed []string, err error) {
	want := map[string]netip.Addr{}
	var body bytes.Buffer
	body.WriteString("# Managed by multihead; changes between these markers are overwritten.\n")
	for _, e := range entries {
		fmt.Fprintf(&body, "%s\t%s\n", e.addr, strings.Join(e.names, " "))
		for _, n := range e.names {
			want[strings.ToLower(n)] = e.addr
		}
	}
	before, after, found, err := splitBlock(old)
	if err != nil {
		return nil, nil, err
	}
	before, c1 := withoutNames(before, want)
	after, c2 := withoutNames(after, want)
	if found {
		before = append(append(slices.Clone(before), blockBegin+"\n"+blockEnd+"\n"...), after...)
	}
	merged, err = withBlock(before, body.Bytes())
	return merged, append(c1, c2...), err
}

// withoutNames takes the names of want out of lines that give them another
// address.
func withoutNames(text []byte, want map[string]netip.Addr) (out []byte, changed []string) {
	var b bytes.Buffer
	for line := range bytes.Lines(text) {
		kept, wrong := judgeLine(string(line), want)
		if len(wrong) == 0 {
			b.Write(line)
			continue
		}
		trimmed := strings.TrimSpace(string(line))
		changed = append(changed, strings.Join(strings.Fields(trimmed), " "))
		b.WriteString("# multihead: was: " + trimmed + "\n")
		b.WriteString(kept)
	}
	return b.Bytes(), changed
}

// judgeLine returns the names of a line that contradict want, and the line
// without them, empty where no name is left.
func judgeLine(line string, want map[string]netip.Addr) (kept string, wrong []string) {
	text, comment, commented := strings.Cut(strings.TrimRight(line, "\r\n"), "#")
	fields := strings.Fields(text)
	if len(fields) < 2 {
		return "", nil
	}
	addr, err := netip.ParseAddr(fields[0])
	if err != nil {
		return "", nil
	}
	var names []string
	for _, n := range fields[1:] {
		right, ours := want[strings.ToLower(n)]
		// An IPv6 address beside the IPv4 one of the file is no
		// contradiction, unless it is the loopback.
		otherFamily := ours && addr.Is4() != right.Is4() && !addr.IsLoopback()
		if !ours || addr == right || otherFamily {
			names = append(names, n)
		} else {
			wrong = append(wrong, n)
		}
	}
	if len(wrong) == 0 || len(names) == 0 {
		return "", wrong
	}
	kept = fields[0] + "\t" + strings.Join(names, " ")
	if commented {
		kept += " #" + comment
	}
	return kept + "\n", wrong
}
