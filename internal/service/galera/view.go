package galera

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// view is gvwstate.dat: whom a node saw in the last component with quorum that
// it was part of. The daemon writes it whenever such a component comes about,
// and takes it away when it is stopped in order.
type view struct {
	mine    string   // the identity that the node has in it
	uuid    string   // who installed it
	seq     uint64   // which one it is: it grows with every change of members
	members []string // their identities; voters without data are among them
}

// parseView reads gvwstate.dat. A file that does not say who was there is an
// error, never an empty view: an empty one would be a majority of nobody.
func parseView(b []byte) (view, error) {
	var v view
	var inside, ended, haveID bool
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		switch line {
		case "":
			continue
		case "#vwbeg":
			inside = true
			continue
		case "#vwend":
			ended = inside
			inside = false
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			return view{}, fmt.Errorf("gvwstate.dat: no key in %q", clip(line))
		}
		words := strings.Fields(strings.ToLower(value))
		if len(words) == 0 {
			return view{}, fmt.Errorf("gvwstate.dat: %q says nothing", clip(line))
		}
		switch {
		case key == "my_uuid":
			v.mine = words[0]
		case key == "view_id" && inside:
			// Kind, who installed it, and which one it is. 3 is one with quorum.
			if len(words) != 3 || words[0] != "3" || !uuidForm.MatchString(words[1]) {
				return view{}, fmt.Errorf("gvwstate.dat: view_id %q is none of a component with quorum", clip(value))
			}
			var err error
			if v.seq, err = strconv.ParseUint(words[2], 10, 32); err != nil {
				return view{}, fmt.Errorf("gvwstate.dat: view_id: %w", err)
			}
			v.uuid, haveID = words[1], true
		case key == "member" && inside:
			if !uuidForm.MatchString(words[0]) {
				return view{}, fmt.Errorf("gvwstate.dat: member %q is none", clip(value))
			}
			if !slices.Contains(v.members, words[0]) {
				v.members = append(v.members, words[0])
			}
		}
	}
	switch {
	case !uuidForm.MatchString(v.mine):
		return view{}, errors.New("gvwstate.dat: my_uuid is missing")
	case !ended || !haveID || len(v.members) == 0:
		return view{}, errors.New("gvwstate.dat: it is cut off")
	}
	return v, nil
}

// known says whether there is one.
func (v view) known() bool { return len(v.members) > 0 }

// same says whether two are the same view.
func (v view) same(w view) bool { return v.uuid == w.uuid && v.seq == w.seq }

// has says whether a node is one of its members. The fourth group of an
// identity counts how often the node has come back under it.
func (v view) has(identity string) bool {
	return slices.ContainsFunc(v.members, func(m string) bool { return incarnation(m) == incarnation(identity) })
}

// incarnation is an identity without the count of its returns.
func incarnation(uuid string) string {
	if len(uuid) != 36 {
		return uuid
	}
	return uuid[:19] + uuid[23:]
}
