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

// lookHardware asks a node for what it has, to fill what the file leaves out
// and to compare with what it says.
func lookHardware(ctx context.Context, r host.Reader, given config.Hardware) (config.Hardware, error) {
	var hw config.Hardware
	mem, err := r.ReadFile(ctx, "/proc/meminfo")
	if err != nil {
		return hw, err
	}
	hw.MemoryMB = memoryMB(string(mem))
	cpu, err := r.ReadFile(ctx, "/proc/cpuinfo")
	if err != nil {
		return hw, err
	}
	fillCPUs(&hw, string(cpu))
	return hw, nil
}

// memoryMB is MemTotal in MiB, rounded down to a multiple of 256: it changes a
// little with every kernel, and a node with less than it promised is drained.
func memoryMB(meminfo string) int {
	for line := range strings.Lines(meminfo) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "MemTotal:" {
			kb, err := strconv.Atoi(f[1])
			if err == nil {
				return kb / 1024 / 256 * 256
			}
		}
	}
	return 0
}

// fillCPUs counts /proc/cpuinfo: logical CPUs, sockets, cores, threads. Where
// the parts do not multiply to the whole, only the whole is told.
func fillCPUs(hw *config.Hardware, cpuinfo string) {
	sockets, cores := map[string]bool{}, map[string]bool{}
	socket := ""
	for line := range strings.Lines(cpuinfo) {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(key) {
		case "processor":
			hw.CPUs++
		case "physical id":
			socket = value
			sockets[value] = true
		case "core id":
			cores[socket+"/"+value] = true
		}
	}
	if n, k := len(sockets), len(cores); n > 0 && k > 0 && k%n == 0 && hw.CPUs%k == 0 {
		hw.Sockets, hw.CoresPerSocket, hw.ThreadsPerCore = n, k/n, hw.CPUs/k
	}
}
