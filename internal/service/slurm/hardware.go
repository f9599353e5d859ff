package slurm

import (
	"context"
	"strconv"
	"strings"

	"multihead/internal/config"
	"multihead/internal/host"
)

// AskHardware asks a host what it would be as a compute node: slurmd, where it is
// there, and the kernel where it is not yet. Memory is rounded down, for a node that
// has less than slurm.conf says is drained.
func AskHardware(ctx context.Context, r host.Reader) (config.Hardware, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	if out, err := r.Query(ctx, "slurmd", "-C"); err == nil {
		if hw := parseHardware(out); hw.CPUs > 0 && hw.MemoryMB > 0 {
			return hw, nil
		}
	}
	return lookHardware(ctx, r, config.Hardware{})
}

// parseHardware reads what slurmd -C prints: a NodeName line as slurm.conf has it.
func parseHardware(text string) config.Hardware {
	has := map[string]int{}
	for word := range strings.FieldsSeq(text) {
		key, value, _ := strings.Cut(word, "=")
		if n, err := strconv.Atoi(value); err == nil && n > 0 {
			has[strings.ToLower(key)] = n
		}
	}
	hw := config.Hardware{CPUs: has["cpus"], CoresPerSocket: has["corespersocket"], ThreadsPerCore: has["threadspercore"],
		Sockets: has["sockets"], MemoryMB: has["realmemory"] / 256 * 256}
	if perBoard := has["socketsperboard"]; perBoard > 0 {
		hw.Sockets = max(has["boards"], 1) * perBoard
	}
	if hw.Sockets*hw.CoresPerSocket*hw.ThreadsPerCore != hw.CPUs {
		// Slurm would not take such a line; the number of CPUs alone it does.
		hw.Sockets, hw.CoresPerSocket, hw.ThreadsPerCore = 0, 0, 0
	}
	return hw
}

// Fill gives what was not given the values that a host told of itself.
func Fill(given, asked config.Hardware) config.Hardware { return fill(given, asked) }
