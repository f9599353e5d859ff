package cluster

import (
	"fmt"

	"multihead/internal/config"
	"multihead/internal/service"
)

// Alone returns a refusal unless it is certain that no other head of the file
// serves anything or holds any data, running or stopped: a head made to stand
// alone beside that would be a second cluster, or the same one gone on from an
// older copy.
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
		if err := v.holdsNothing(n.Name(), head); err != nil {
			return err
		}
		for _, h := range v.Healths() {
			nh, ok := h.Nodes[n.Name()]
			if ok && isSwitch(h.Service) && nh.State != service.Down {
				return &service.Refusal{Service: "standalone",
					Reason: fmt.Sprintf("%s on %s is %s", h.Service, n.Name(), nh.State),
					Remedy: "Stop the cluster first (multihead down), or take those heads out of the file; to make " + head + " part of it, run up without --standalone."}
			}
		}
	}
	return nil
}

// holdsNothing returns a refusal unless another head has said of every service
// that it holds none of its data.
func (v *View) holdsNothing(other, head string) error {
	for _, s := range v.Services {
		h, ok := v.States[s.Name()].(service.Holder)
		if !ok {
			continue
		}
		for _, e := range h.Evidence() {
			if e.Node != other || e.Live == service.No && e.Data == service.No {
				continue
			}
			what := "holds data"
			if e.Data != service.Yes {
				what = "may hold data"
			}
			return &service.Refusal{Service: "standalone",
				Reason: fmt.Sprintf("%s %s of %s (%s): %s alone would go on without it", other, what, s.Name(), e.Why, head),
				Remedy: "Run up without --standalone, which starts from the head whose data goes furthest. If that data is not wanted, take " + other + " out of the file."}
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
