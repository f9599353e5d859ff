package drill

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"multihead/internal/config"
	"multihead/internal/drill/check"
	"multihead/internal/drill/clients"
)

// invariants reads what is there and lets the checks compare it. What cannot be
// read is an invariant that was not shown, and counts as broken.
func (r *run) invariants(ctx context.Context, ops []clients.Op) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	groups := []func(context.Context, []clients.Op) []check.Verdict{
		r.checkSQL, r.checkRedis, r.checkVolume, r.checkJobs, r.checkVIP, r.checkPlan,
	}
	found := make([][]check.Verdict, len(groups))
	var wg sync.WaitGroup
	for i, g := range groups {
		wg.Go(func() { found[i] = g(ctx, ops) })
	}
	wg.Wait()
	r.res.Verdicts = append(r.res.Verdicts, slices.Concat(found...)...)
}

func unread(name string, err error) check.Verdict {
	return check.Verdict{Name: name, Text: "could not be read: " + err.Error()}
}

func (r *run) checkSQL(ctx context.Context, ops []clients.Op) []check.Verdict {
	if r.sql == nil {
		return nil
	}
	heads := r.env.File.HeadsWith(config.MariaDB)
	totals, lists, transfers := map[string]int64{}, map[string][]int64{}, map[string][]int64{}
	nodes := map[string]check.GaleraNode{}
	var out []check.Verdict
	for _, c := range heads {
		t, err := r.tablesOf(ctx, c.Hostname)
		if err != nil {
			out = append(out, unread("database of "+c.Hostname, err))
			continue
		}
		totals[c.Hostname], lists[c.Hostname], transfers[c.Hostname], nodes[c.Hostname] = t.total, t.list, t.transfers, t.node
	}
	out = append(out, check.Bank(accounts*deposit, totals),
		check.Numbers("acknowledged transfers", check.Of(ops, clients.SQL, clients.Transfer), transfers),
		check.Numbers("acknowledged appends", check.Of(ops, clients.SQL, clients.Append), lists),
		check.Register(slices.Concat(check.Of(ops, clients.SQL, clients.Read), check.Of(ops, clients.SQL, clients.Write)), "0"))
	if len(heads) > 1 {
		out = append(out, check.Galera(nodes, len(heads)))
	}
	return out
}

func (r *run) tablesOf(ctx context.Context, name string) (tables, error) {
	h, ok := r.env.Host(name)
	if !ok {
		return tables{}, errors.New("not reached")
	}
	db, err := asRoot(ctx, h, r.env.File.Database.MariaDB.RootPassword)
	if err != nil {
		return tables{}, err
	}
	defer db.Close()
	return readTables(ctx, db)
}

func (r *run) checkVIP(_ context.Context, ops []clients.Op) []check.Verdict {
	seen := check.Of(ops, clients.ARP, "")
	if len(seen) == 0 {
		return []check.Verdict{{Name: "one holder of the virtual address", Text: "nobody could be asked from " + orHere(r.env.Client) + ": it is not on the address's own network"}}
	}
	v, overlaps := check.Holders(seen)
	r.res.Overlaps = overlaps
	return []check.Verdict{v}
}

// planLimit is how long what settles by itself may take after the cluster was green:
// compute nodes register with the controller that has just come back.
const planLimit = 15 * time.Second

func (r *run) checkPlan(ctx context.Context, _ []clients.Op) []check.Verdict {
	const name = "nothing left to do for up"
	deadline := time.Now().Add(planLimit)
	for {
		changes, err := r.env.Plan(ctx)
		if err != nil {
			return []check.Verdict{unread(name, err)}
		}
		if len(changes) == 0 || time.Now().After(deadline) || sleep(ctx, time.Second) != nil {
			return []check.Verdict{{Name: name, OK: len(changes) == 0, Text: strings.Join(changes, "; ")}}
		}
	}
}
