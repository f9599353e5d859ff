package cluster

import (
	"fmt"

	"multihead/internal/config"
	"multihead/internal/service"
)

// Alone returns a refusal unless it is certain that no other head of the file
// serves anything: a head made to stand alone beside a cluster would be a
// second cluster.
func (v *View) Alone(head string) error {
	for _, n := range v.Input.Heads {
		if n.Name() == head {
			continue
		}
		if !n.Reached() {
			return &service.Refusal{Service: "standalone",
				Reason: fmt.Sprintf("%s did not answer (%v): a cluster may live there", n.Name(), n.Err),
				Remedy: "Bring it back, or take it out of the file."}
		}
		for _, h := range v.Healths() {
			nh, ok := h.Nodes[n.Name()]
			if ok && nh.State != service.Down {
				return &service.Refusal{Service: "standalone",
					Reason: fmt.Sprintf("%s on %s is %s", h.Service, n.Name(), nh.State),
					Remedy: "Stop the cluster first (multihead down), or take those heads out of the file; to make " + head + " part of it, run up without --standalone."}
			}
		}
	}
	return nil
}

// Narrow makes the view that of a cluster of one head.
func (v *View) Narrow(head string) error {
	h, ok := v.Cluster.Head(head)
	if !ok {
		return fmt.Errorf("the cluster file has no head %s", head)
	}
	c := *v.Cluster
	c.Nodes.Controllers = []config.Controller{h}
	binary, stamp := v.Input.Binary, v.Input.Stamp
	v.Cluster = &c
	for _, n := range v.Input.Heads {
		if n.Name() != head {
			if conn, ok := v.Hosts[n.Name()].(interface{ Close() error }); ok {
				_ = conn.Close()
			}
			delete(v.Hosts, n.Name())
			delete(v.Errs, n.Name())
		}
	}
	v.Input = v.input()
	v.Input.Binary, v.Input.Stamp = binary, stamp
	return nil
}
