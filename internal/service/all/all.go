// Package all lists the services, in the order in which people read them.
package all

import (
	"multihead/internal/service"
	"multihead/internal/service/base"
	"multihead/internal/service/keepalived"
)

// Services returns every service of this release.
func Services() []service.Service {
	return []service.Service{
		base.New(),
		keepalived.New(),
	}
}
