package service

import (
	"multihead/internal/config"
	"multihead/internal/plan"
)

// Rotator is a State of a service whose clients prove themselves by a password, and
// which can take two at once: while both are good, clients move from one to the other.
type Rotator interface {
	// Accept returns the steps after which the service takes the passwords of next
	// as well as every one that it takes now. What the service itself proves itself
	// by is not its business: the plan of the file with the new passwords does that.
	Accept(next *config.Cluster) (plan.Phase, error)
	// Retire returns the steps after which it takes the passwords of the file that
	// it was observed with, and no others.
	Retire() (plan.Phase, error)
}
