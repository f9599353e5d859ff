// Package all lists the services, in the order in which people read them.
package all

import (
	"multihead/internal/service"
	"multihead/internal/service/agentd"
	"multihead/internal/service/backup"
	"multihead/internal/service/base"
	"multihead/internal/service/galera"
	"multihead/internal/service/gluster"
	"multihead/internal/service/keepalived"
	"multihead/internal/service/redis"
	"multihead/internal/service/slurm"
)

// Services returns every service of this release.
func Services() []service.Service {
	return []service.Service{
		base.New(),
		gluster.New(),
		galera.New(),
		redis.New(),
		slurm.New(),
		keepalived.New(),
		agentd.New(),
		backup.New(),
	}
}
