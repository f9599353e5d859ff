package backup

import (
	"fmt"
	"slices"
	"strings"

	"multihead/internal/config"
	"multihead/internal/service"
)

// Choose names the head that is to do the work: one whose database serves, of those one
// that has Redis and the volume as well where any head has them, and of those not the one
// that holds the virtual address, whose clients would notice. The last in the file's
// order, for the first ones have most to do.
func Choose(c *config.Cluster, reached []string, health map[string]service.Health) (string, error) {
	best, bestScore := "", -1
	var why []string
	for _, h := range c.Nodes.Controllers {
		n := h.Hostname
		if !slices.Contains(reached, n) {
			why = append(why, n+": not reached")
			continue
		}
		if c.Runs(n, config.MariaDB) {
			if nh := health[config.MariaDB].Nodes[n]; nh.State != service.Up {
				why = append(why, fmt.Sprintf("%s: its database is %s: %s", n, nh.State, nh.Reason))
				continue
			}
		} else if len(c.HeadsWith(config.MariaDB)) > 0 {
			continue
		}
		score := 0
		for _, s := range []string{config.Redis, config.GlusterFS} {
			if st := health[s].Nodes[n].State; c.Runs(n, s) && (st == service.Up || st == service.Degraded) {
				score += 8
			}
		}
		if health[config.Keepalived].Nodes[n].Role != "vip" {
			score += 4
		}
		if health[config.Slurm].Nodes[n].Role != "primary" {
			score += 2
		}
		if score >= bestScore {
			best, bestScore = n, score
		}
	}
	if best == "" {
		return "", fmt.Errorf("no head can make a consistent snapshot now: %s", strings.Join(why, "; "))
	}
	return best, nil
}
