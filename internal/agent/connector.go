package agent

import "multihead/internal/cluster"

// Connector reaches the other heads as their agents do each other, for work that
// is done on a head without a person, whose keys it would need over SSH. name is
// this head's.
func Connector(opt Options) (cluster.Connector, error) {
	a, err := New(opt)
	if err != nil {
		return nil, err
	}
	if a.id, err = loadIdentity(); err != nil {
		return nil, err
	}
	return a.reach, nil
}
