package check

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"multihead/internal/drill/clients"
)

// GaleraNode is what one database server says of its cluster.
type GaleraNode struct {
	UUID      string
	Component string // Primary, non-Primary
	State     string // Synced …
	Size      int
}

// Galera checks that all nodes are one cluster: one history, one Primary
// component that holds every one of them.
func Galera(nodes map[string]GaleraNode, want int) Verdict {
	var wrong []string
	uuids := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(nodes)) {
		n := nodes[name]
		uuids[n.UUID] = true
		if n.Component != "Primary" || n.State != "Synced" || n.Size < want {
			wrong = append(wrong, fmt.Sprintf("%s is %s, %s, of %d", name, n.Component, n.State, n.Size))
		}
	}
	if len(nodes) != want {
		wrong = append(wrong, fmt.Sprintf("%d of %d nodes answered", len(nodes), want))
	}
	if len(uuids) > 1 {
		wrong = append(wrong, fmt.Sprintf("%d histories (%s)", len(uuids), some(slices.Sorted(maps.Keys(uuids)))))
	}
	return verdict("one database cluster", wrong, fmt.Sprintf("%d nodes, one Primary, one history", len(nodes)))
}

// SlotRange is a range of slots and who serves it.
type SlotRange struct {
	From, To int
	Master   string
}

// Slots checks that every slot is served by one master, and that all nodes agree
// on which.
func Slots(views map[string][]SlotRange) Verdict {
	var wrong []string
	if len(views) == 0 {
		wrong = append(wrong, "no node was asked")
	}
	var first [clients.Slots]string
	for i, node := range slices.Sorted(maps.Keys(views)) {
		var owner [clients.Slots]string
		twice := 0
		for _, r := range views[node] {
			for s := max(r.From, 0); s <= r.To && s < clients.Slots; s++ {
				if owner[s] != "" {
					twice++
				}
				owner[s] = r.Master
			}
		}
		missing := 0
		for _, o := range owner {
			if o == "" {
				missing++
			}
		}
		if missing > 0 || twice > 0 {
			wrong = append(wrong, fmt.Sprintf("%s sees %d slots without a master and %d with two", node, missing, twice))
		}
		if i == 0 {
			first = owner
		} else if owner != first {
			wrong = append(wrong, node+" sees other masters")
		}
	}
	return verdict("every Redis slot once", wrong, fmt.Sprintf("%d slots, seen alike by %d nodes", clients.Slots, len(views)))
}

// Heal checks `gluster volume heal VOLUME info summary`.
func Heal(summary string) Verdict {
	var wrong []string
	bricks := 0
	for line := range strings.Lines(summary) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		switch {
		case !ok:
		case key == "Status":
			bricks++
			if value != "Connected" {
				wrong = append(wrong, "a brick is not connected: "+value)
			}
		case key == "Total Number of entries", key == "Number of entries in split-brain":
			if n, err := strconv.Atoi(value); err != nil || n > 0 {
				wrong = append(wrong, strings.ToLower(key)+": "+value)
			}
		}
	}
	if bricks == 0 {
		wrong = append(wrong, "no brick was told of")
	}
	return verdict("volume healed", wrong, fmt.Sprintf("%d bricks, nothing to heal, no split-brain", bricks))
}

// Controllers checks that one slurmctld acts and all others stand by. answers is
// what each of them, asked by itself, said: nothing where it answered as the
// active one.
func Controllers(answers map[string]string) Verdict {
	var active, wrong []string
	standby := 0
	for _, name := range slices.Sorted(maps.Keys(answers)) {
		switch said := answers[name]; {
		case said == "":
			active = append(active, name)
		case strings.Contains(said, "standby"):
			standby++
		default:
			wrong = append(wrong, name+" said neither: "+strings.TrimSpace(said))
		}
	}
	if len(active) != 1 {
		wrong = append(wrong, fmt.Sprintf("%d act (%s)", len(active), strings.Join(active, ", ")))
	}
	return verdict("one active slurmctld", wrong, fmt.Sprintf("%s, %d stand by", strings.Join(active, ", "), standby))
}
