package main

import (
	"context"
	"maps"
	"sync"

	"golang.org/x/sync/errgroup"

	"multihead/internal/cluster"
	"multihead/internal/config"
	"multihead/internal/service/agentd"
)

// provenOff is which heads the agents of those that were reached have proven to be
// switched off, and by what. An agent that does not answer proves nothing.
func provenOff(ctx context.Context, c *config.Cluster, v *cluster.View) map[string]string {
	out := map[string]string{}
	if !c.Fencing.Enabled {
		return out
	}
	var mu sync.Mutex
	var g errgroup.Group
	for _, n := range v.Input.Heads {
		if !n.Reached() {
			continue
		}
		g.Go(func() error {
			report, err := agentd.Ask(ctx, n.Reader)
			if err == nil && report != nil {
				mu.Lock()
				defer mu.Unlock()
				maps.Copy(out, report.Dead)
			}
			return nil
		})
	}
	_ = g.Wait() // what is not answered is not proven
	return out
}
