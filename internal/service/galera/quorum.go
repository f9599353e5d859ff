package galera

import (
	"cmp"
	"fmt"
	"strings"

	"multihead/internal/service"
)

// mayBegin says whether the cluster may begin with the heads at hand. It may
// where nobody else can be serving it:
//
//   - every head of the file is at hand, or proven to be switched off; or
//   - the missing ones have been waited for, and those at hand are more than
//     half of the heads, and more than half of the members of the last component
//     with quorum that any of them knows. The rest were fewer than half of it and
//     cannot have gone on; or
//   - a person said so.
func (r *recovery) mayBegin() *service.Refusal {
	if refused := r.s.mayLiveElsewhere(r.intent); refused != nil {
		return refused
	}
	var silent []string
	for _, n := range r.missing {
		if n.dead == "" {
			silent = append(silent, fmt.Sprintf("%s (%s)", n.name, strings.TrimSuffix(cmp.Or(n.why, n.disk.why), ".")))
		}
	}
	if len(silent) == 0 || r.intent.Confirmed {
		return nil
	}
	refuse := func(format string, args ...any) *service.Refusal {
		return &service.Refusal{Service: "mariadb",
			Reason: fmt.Sprintf("nobody serves, and %s cannot be looked at: ", strings.Join(silent, ", ")) + fmt.Sprintf(format, args...),
			Remedy: "Bring the missing heads back; then it goes on by itself. Where they are gone for good: multihead recover --accept-data-loss with the cluster's name; commits that only they had are missing then."}
	}
	for _, n := range r.missing {
		if n.reached {
			return refuse("%s is up, and what its mariadbd does or holds is not known", n.name)
		}
	}
	if !r.intent.Without {
		return refuse("they may hold the last commits, and are waited for")
	}
	if 2*len(r.hand) <= len(r.s.nodes) {
		return refuse("the %d heads at hand are no majority of %d, and the others may go on without them", len(r.hand), len(r.s.nodes))
	}
	views := r.views()
	if len(views) == 0 {
		return refuse("the heads at hand were stopped in order, and the others may have gone on without them")
	}
	for _, v := range views {
		if have := r.present(v); 2*have <= len(v.members) {
			return refuse("of the %d that had quorum last only %d are at hand, and the others may have gone on without them", len(v.members), have)
		}
	}
	return nil
}

// anew says whether the cluster has to go on under a new identity: a head is
// missing that may hold commits which nobody else has. A head that was not part
// of the last component with quorum holds none.
func (r *recovery) anew() bool {
	if len(r.missing) == 0 {
		return false
	}
	views := r.views()
	for _, v := range views {
		if r.present(v) < len(v.members) {
			return true
		}
	}
	return len(views) == 0
}

// views are the last components with quorum that the heads at hand know of, less those
// that another one knows a later one of. A head that was away for long knows an
// old one; both the count of the view and the position say so, and where they
// disagree (the count begins again when a cluster does) both stand.
func (r *recovery) views() []view {
	var out []view
	for i, n := range r.voters {
		v := n.disk.last
		if !v.known() {
			continue
		}
		old := false
		for j, m := range r.voters {
			w := m.disk.last
			if !w.known() || i == j {
				continue
			}
			if w.same(v) {
				old = old || j < i // once is enough
			} else if w.seq > v.seq && (m.position() >= n.position() || m.position() < 0 || n.position() < 0) {
				old = true
			}
		}
		if !old {
			out = append(out, v)
		}
	}
	return out
}

// present counts the members of a view that are at hand.
func (r *recovery) present(v view) int {
	have := 0
	for _, n := range r.voters {
		if n.disk.last.known() && v.has(n.disk.last.mine) {
			have++
		}
	}
	return have
}
