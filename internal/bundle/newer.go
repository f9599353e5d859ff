package bundle

import (
	"context"
	"errors"
	"maps"
	"slices"

	"multihead/internal/host"
	"multihead/internal/plan"
)

// Newer reads the whole bundle, compares it with the hosts, and returns the version of
// every package that it has.
func (s Site) Newer(ctx context.Context, hosts map[string]host.Reader) (map[string]string, error) {
	m, _, err := Verify(s.Dir)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(hosts)) {
		errs = append(errs, m.fits(ctx, hosts[name]))
	}
	return m.Offers(), errors.Join(errs...)
}

// Upgrade makes an upgrade be done from the bundle, and from nothing else. bringing
// carries its files to the host before.
func (s Site) Upgrade(u plan.Upgrade) (bringing plan.Action, from plan.Upgrade) {
	var names []string
	for _, c := range u.Changes {
		names = append(names, c.Name+"="+c.To)
	}
	u.Source = sourceFile
	return bringNewer{bring{s, names}, u}, u
}

// bringNewer is bring for packages that the host has, and is to have newer.
type bringNewer struct {
	bring
	upgrade plan.Upgrade
}

// Done says whether the host has the newer ones already.
func (b bringNewer) Done(ctx context.Context, h host.Reader) (bool, error) {
	return b.upgrade.Done(ctx, h)
}
