package slurm

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"
)

// ping is one controller as `scontrol ping` tells of it.
type ping struct {
	Role string // "primary", "backup", "backup1": the place in slurm.conf, not who is in charge
	Host string
	Up   bool
}

// parsePing reads the lines "Slurmctld(primary) at server1 is UP".
func parsePing(text string) []ping {
	var out []ping
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "Slurmctld(")
		if !ok {
			continue
		}
		role, rest, ok1 := strings.Cut(rest, ") at ")
		host, state, ok2 := strings.Cut(rest, " is ")
		if ok1 && ok2 && host != "" {
			out = append(out, ping{role, host, state == "UP"})
		}
	}
	return out
}

// heartbeat is the file that the slurmctld in charge writes into its state
// directory every few seconds, so that a backup that cannot reach it by the
// network does not take over while it lives.
type heartbeat struct {
	at    time.Time
	index int // its place among the SlurmctldHost lines, 0 is the primary
}

// parseHeartbeat reads it: two 64-bit numbers in network order, the second of
// its last beat and the index of its writer.
func parseHeartbeat(data []byte) (heartbeat, error) {
	if len(data) != 16 {
		return heartbeat{}, fmt.Errorf("heartbeat of %d bytes instead of 16", len(data))
	}
	seconds, index := binary.BigEndian.Uint64(data), binary.BigEndian.Uint64(data[8:])
	if seconds > 1<<40 || index > 1<<10 {
		return heartbeat{}, fmt.Errorf("heartbeat says second %d of controller %d", seconds, index)
	}
	return heartbeat{time.Unix(int64(seconds), 0), int(index)}, nil
}

// settings reads the single-valued lines of a slurm.conf, keys in lower case:
// Slurm does not tell their case apart.
func settings(conf []byte) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(string(conf)) {
		line, _, _ = strings.Cut(line, "#")
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && !strings.ContainsAny(key, " \t") {
			out[strings.ToLower(key)] = strings.TrimSpace(value)
		}
	}
	return out
}

// nodeCounts is how many nodes are in each state, by Slurm's own words.
type nodeCounts struct {
	total, idle, busy, drained, down int
	bad                              []string // "node003 down*"
}

// parseNodes reads `sinfo --Node --noheader --format="%N %T"`: one line for a
// node in each of its partitions. A state ends in * where the node does not
// answer.
func parseNodes(text string) nodeCounts {
	var c nodeCounts
	seen := map[string]bool{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 2 || seen[f[0]] {
			continue
		}
		seen[f[0]] = true
		c.total++
		word := strings.TrimRight(f[1], "*~#!%$@^-")
		silent := strings.Contains(f[1], "*")
		switch {
		case silent, word == "down", word == "unknown", word == "fail", word == "failing", word == "inval", word == "future":
			c.down++
			c.bad = append(c.bad, f[0]+" "+f[1])
		case strings.HasPrefix(word, "drain"), word == "maint", word == "reserved", word == "blocked":
			c.drained++
		case word == "idle":
			c.idle++
		default:
			c.busy++
		}
	}
	return c
}
