package config

import (
	"fmt"
	"slices"
)

// What a compute node or a witness that joins or leaves means for the text of the
// file: its own entry, and the partitions that name it.

// Where the file lists what is no head.
const (
	computesPath   = "nodes.compute_nodes"
	vizPath        = "nodes.viz_nodes"
	witnessesPath  = "witnesses"
	partitionsPath = "slurm_config.partitions"
)

// NextCompute is a compute node as AddCompute would add it: reached like the last
// one of the file, or else like the last head.
func (c *Cluster) NextCompute(spec HostSpec) ComputeNode {
	like := c.lastHead()
	if list := c.Nodes.ComputeNodes; len(list) > 0 {
		like = list[len(list)-1].HostSpec
	}
	return ComputeNode{HostSpec: spec.reachedLike(like)}
}

// NextWitness is a witness as AddWitness would add it: reached like the last one of
// the file, or else like the last head.
func (c *Cluster) NextWitness(spec HostSpec) Witness {
	like := c.lastHead()
	if list := c.Witnesses; len(list) > 0 {
		like = list[len(list)-1].HostSpec
	}
	return Witness{spec.reachedLike(like)}
}

func (c *Cluster) lastHead() HostSpec {
	if list := c.Nodes.Controllers; len(list) > 0 {
		return list[len(list)-1].HostSpec
	}
	return hostDefaults()
}

// reachedLike fills in how a host is reached where that was not given.
func (h HostSpec) reachedLike(like HostSpec) HostSpec {
	if h.SSHUser == "" {
		h.SSHUser = like.SSHUser
	}
	if h.SSHPort == 0 {
		h.SSHPort = like.SSHPort
	}
	if h.SSHKeyPath == "" {
		h.SSHKeyPath = like.SSHKeyPath
	}
	return h
}

// AddCompute adds a compute node, and its name to the partitions named: without
// any, to those that name the last compute node. A partition of ALL nodes has it
// anyway. A node that would be in no partition is refused.
func (d *Document) AddCompute(c *Cluster, n ComputeNode, partitions []string) error {
	fields := n.HostSpec.fields()
	last := len(c.Nodes.ComputeNodes) - 1
	if last >= 0 {
		if at, err := d.find(listPath(computesPath, last, "node_type")); err == nil && at.node != nil {
			fields = append(fields, Field{"node_type", "compute"})
		}
	}
	if hw := n.Hardware.fields(); len(hw) > 0 {
		fields = append(fields, Field{"hardware", hw})
	}
	in, err := d.partitionsFor(c, partitions)
	if err != nil {
		return err
	}
	if err := d.Append(computesPath, fields); err != nil {
		return err
	}
	return d.joinPartitions(c, n.Hostname, in)
}

// JoinPartitions adds a compute node of the file to the partitions named, which are
// one or more. It stays in those that have it.
func (d *Document) JoinPartitions(c *Cluster, hostname string, partitions []string) error {
	in, err := d.partitionsFor(c, partitions)
	if err != nil {
		return err
	}
	return d.joinPartitions(c, hostname, in)
}

func (d *Document) joinPartitions(c *Cluster, hostname string, in []int) error {
	for _, i := range in {
		if d.ofAllNodes(i) || slices.Contains(c.Slurm.Partitions[i].Nodes, hostname) {
			continue
		}
		if err := d.setList(listPath(partitionsPath, i, "nodes"), append(slices.Clone(c.Slurm.Partitions[i].Nodes), hostname)); err != nil {
			return err
		}
	}
	return nil
}

// partitionsFor is the places of the partitions that a new compute node is in.
func (d *Document) partitionsFor(c *Cluster, named []string) ([]int, error) {
	var out []int
	var all []string
	last := ""
	if list := c.Nodes.ComputeNodes; len(list) > 0 {
		last = list[len(list)-1].Hostname
	}
	for i, p := range c.Slurm.Partitions {
		all = append(all, p.Name)
		if slices.Contains(named, p.Name) || d.ofAllNodes(i) || len(named) == 0 && slices.Contains(p.Nodes, last) {
			out = append(out, i)
		}
	}
	for _, name := range named {
		if !slices.Contains(all, name) {
			return nil, fmt.Errorf("%s: no partition is called %s; there are %v", d.name, name, all)
		}
	}
	if len(out) == 0 && len(all) > 0 {
		return nil, fmt.Errorf("%s: name a partition for it; there are %v", d.name, all)
	}
	return out, nil
}

// ofAllNodes says whether a partition is written as ALL nodes.
func (d *Document) ofAllNodes(i int) bool {
	at, err := d.find(listPath(partitionsPath, i, "nodes"))
	if err != nil || at.node == nil {
		return false
	}
	if at.node.kind == listKind {
		return len(at.node.items) == 1 && textOf(at.node.items[0]) == "ALL"
	}
	return textOf(at.node) == "ALL"
}

// DropCompute takes a compute or visualisation node out of the file c, and out of
// the partitions that name it. A partition without nodes would be no partition: that
// is refused.
func (d *Document) DropCompute(c *Cluster, hostname string) error {
	found := false
	for _, path := range []string{computesPath, vizPath} {
		i, err := d.indexOf(path, hostname)
		if err != nil {
			continue
		}
		found = true
		if err := d.Remove(indexPath(path, i)); err != nil {
			return err
		}
	}
	if !found {
		return fmt.Errorf("%s: no compute node is called %s", d.name, hostname)
	}
	for i, p := range c.Slurm.Partitions {
		if !slices.Contains(p.Nodes, hostname) {
			continue
		}
		rest := slices.DeleteFunc(slices.Clone(p.Nodes), func(n string) bool { return n == hostname })
		if len(rest) == 0 {
			return fmt.Errorf("%s: the partition %s would have no nodes: give it others, or take it out of the file first", d.name, p.Name)
		}
		if d.ofAllNodes(i) {
			continue
		}
		if err := d.setList(listPath(partitionsPath, i, "nodes"), rest); err != nil {
			return err
		}
	}
	return nil
}

// AddWitness adds a witness.
func (d *Document) AddWitness(w Witness) error { return d.Append(witnessesPath, w.HostSpec.fields()) }

// DropWitness takes a witness out of the file.
func (d *Document) DropWitness(hostname string) error {
	i, err := d.indexOf(witnessesPath, hostname)
	if err != nil {
		return err
	}
	return d.Remove(indexPath(witnessesPath, i))
}

// fields is what of the hardware is given.
func (hw Hardware) fields() []Field {
	var out []Field
	for _, f := range []struct {
		key   string
		value int
	}{
		{"cpus", hw.CPUs}, {"sockets", hw.Sockets}, {"cores_per_socket", hw.CoresPerSocket}, {"threads_per_core", hw.ThreadsPerCore},
		{"memory_mb", hw.MemoryMB}, {"tmp_disk_mb", hw.TmpDiskMB}, {"gpus", hw.GPUs},
	} {
		if f.value > 0 {
			out = append(out, Field{f.key, f.value})
		}
	}
	if hw.GPUType != "" {
		out = append(out, Field{"gpu_type", hw.GPUType})
	}
	if len(hw.GRES) > 0 {
		out = append(out, Field{"gres", []string(hw.GRES)})
	}
	if len(hw.Features) > 0 {
		out = append(out, Field{"features", []string(hw.Features)})
	}
	return out
}

// appendWord adds a word to the end of a list of words that is there.
func (d *Document) appendWord(path, word string) error {
	at, err := d.find(path)
	if err != nil {
		return err
	}
	want := clone(d.root)
	list := wantAt(want, pathSteps(path))
	list.items = append(list.items, valueNode(word))
	s := newSplicer(d.text)
	switch {
	case at.node.shared:
		err = ErrByHand
	case at.node.flow:
		err = s.addFlow(at.node, renderScalar(word), len(at.node.items) > 0)
	default:
		err = s.appendWord(at.node, renderScalar(word))
	}
	return d.settle(s, want, path, err)
}

// appendWord writes a word behind the last one of a list with dashes.
func (s *splicer) appendWord(list *node, word string) error {
	last := list.items[len(list.items)-1]
	dash, err := s.dash(last)
	if err != nil {
		return err
	}
	line, indent := s.lineOf(dash)
	if !blank(s.line(line)[:indent]) {
		return ErrByHand
	}
	s.insertLines(line+1, []string{s.line(line)[:indent] + "- " + word})
	return nil
}
