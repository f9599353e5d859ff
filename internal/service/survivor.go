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

// Guarded is a Service with a daemon that has to be watched over more closely than by
// looks that come and go, for it would do harm before the next one.
type Guarded interface {
	// Guard watches over the daemon on this host until ctx ends. tell takes what was
	// done and why, for people, as an event of that kind ("kill", "alarm").
	Guard(ctx context.Context, h host.Host, c *config.Cluster, tell func(kind, what, why string))
}
