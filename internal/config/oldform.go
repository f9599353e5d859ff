package config

// Older files load as well. modernise moves what they say to where the
// present form says it, before anything is decoded; positions stay those of
// the file.

func (d *decoder) modernise(root *node) {
	if root.kind != mapKind {
		return
	}
	if i := root.index("controllers"); i >= 0 {
		old := root.pairs[i]
		root.pairs = append(root.pairs[:i:i], root.pairs[i+1:]...)
		d.moveControllers(root, old)
	}
	nodes := root.get("nodes")
	if nodes == nil || nodes.kind != mapKind {
		return
	}
	i := nodes.index("controller")
	if i < 0 {
		return
	}
	old := nodes.pairs[i]
	if nodes.index("controllers") >= 0 {
		d.fail(old.key, "nodes.controller", msg("the file has both controller and controllers"), msg("keep controllers, a list"))
		nodes.pairs = append(nodes.pairs[:i:i], nodes.pairs[i+1:]...)
		return
	}
	old.key.text = "controllers"
	if old.value.kind == mapKind {
		head := old.value
		d.completeSingleHead(root, head)
		nodes.pairs[i].value = &node{kind: listKind, line: head.line, col: head.col, items: []*node{head}}
	}
}

func (d *decoder) moveControllers(root *node, old pair) {
	nodes := root.get("nodes")
	if nodes == nil {
		nodes = &node{kind: mapKind, line: old.key.line, col: old.key.col}
		root.pairs = append(root.pairs, pair{key: &node{kind: scalarKind, text: "nodes", line: old.key.line, col: old.key.col}, value: nodes})
	}
	if nodes.kind == nullKind {
		nodes.kind = mapKind
	}
	if nodes.index("controllers") >= 0 || nodes.index("controller") >= 0 {
		d.fail(old.key, "controllers", msg("the heads are listed twice, here and below nodes"), msg("keep nodes.controllers"))
		return
	}
	nodes.pairs = append(nodes.pairs, old)
}

// completeSingleHead gives the one head of a my_cluster.yaml what that format
// leaves unsaid: it runs Slurm and whatever the file has a section for.
func (d *decoder) completeSingleHead(root, head *node) {
	scalar := func(text, tag string) *node {
		return &node{kind: scalarKind, text: text, tag: tag, line: head.line, col: head.col}
	}
	set := func(m *node, key string, value *node) {
		m.pairs = append(m.pairs, pair{key: scalar(key, "!!str"), value: value})
	}
	if head.index("priority") < 0 {
		set(head, "priority", scalar("100", "!!int"))
	}
	if head.index("services") >= 0 {
		return
	}
	network := root.get("network")
	services := &node{kind: mapKind, line: head.line, col: head.col}
	for _, s := range []struct {
		name string
		on   bool
	}{
		{Slurm, true},
		{MariaDB, root.get("database") != nil},
		{Redis, root.get("redis") != nil},
		{GlusterFS, root.get("shared_storage").get("glusterfs") != nil},
		{Web, root.get("web_services") != nil},
		{Keepalived, network.get("vip") != nil},
	} {
		if s.on {
			set(services, s.name, scalar("true", "!!bool"))
		}
	}
	set(head, "services", services)
	if head.index("vip_owner") < 0 && network.get("vip") != nil {
		set(head, "vip_owner", scalar("true", "!!bool"))
	}
}

func (n *node) index(key string) int {
	for i, p := range n.pairs {
		if p.key.text == key {
			return i
		}
	}
	return -1
}
