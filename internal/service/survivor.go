package service

import (
	"context"
	"time"

	"multihead/internal/config"
	"multihead/internal/host"
)

// Silence is a head whose kernel acknowledges nothing any more: to this agent, nor
// to any other of a majority of all agents.
type Silence struct {
	Head  config.HostSpec
	Since time.Time // of the first word that was not acknowledged
	// Living are the heads that are heard, this one among them, in the file's order.
	Living []string
}

// Survivor is a Service whose daemons and clients on a host wait for a head that
// has died, each by a timeout of its own that was made for not knowing better.
type Survivor interface {
	// Outlive ends that waiting on this host, and gives its part of what the silent
	// head did to those that live. A head that is silent is not proven off: what is
	// done here loses nothing where it lives and comes back, and happens anyway,
	// later. ctx ends when the head is heard again, or after a while. tell takes
	// what was done, for people.
	Outlive(ctx context.Context, h host.Host, c *config.Cluster, s Silence, tell func(what string)) error
}

// Recluse is a Service of which one host serves at a time, and which goes on serving
// there when that host is cut off, until it notices.
type Recluse interface {
	// StepDown ends on this host what another may begin to serve: a majority of all
	// agents is silent to this one, and may take over (Survivor) a second later. It is
	// called once; what is ended starts anew by the rules that it starts by anyway.
	StepDown(ctx context.Context, h host.Host, c *config.Cluster, tell func(what string)) error
}
