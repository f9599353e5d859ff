package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"multihead/internal/cluster"
	"multihead/internal/config"
	"multihead/internal/drill"
	"multihead/internal/host"
	"multihead/internal/lab"
	"multihead/internal/plan"
	"multihead/internal/service"
	"multihead/internal/service/all"
)

// drillSession is a cluster that is looked at again and again while it is being
// broken.
type drillSession struct {
	app  *app
	sess *session
	env  drill.Env
	mu   sync.Mutex // sess.view is replaced by looks
}

// openDrill reaches the cluster and finds out where the clients can run.
func (a *app) openDrill(ctx context.Context, f drillFlags) (*drillSession, error) {
	c, err := a.loadCluster()
	if err != nil {
		return nil, err
	}
	sess, err := a.open(ctx, c, c.AllHosts(), f.reach)
	if err != nil {
		return nil, err
	}
	d := &drillSession{app: a, sess: sess}
	d.env = drill.Env{File: c, Look: d.look, Host: d.host, Worker: d.worker, Plan: d.plan, Say: d.say}
	if d.env.Client, err = d.client(f.client); err != nil {
		sess.close()
		return nil, err
	}
	if name := os.Getenv(lab.EnterVariable); name != "" {
		l, err := lab.Open(name)
		if err != nil {
			sess.close()
			return nil, err
		}
		d.env.Outside = labOutside{l}
	}
	d.env.Sabotage = d.sabotage()
	return d, nil
}

// client is the compute node that was asked for, or the first that answers.
// Empty is this machine: a cluster may have no compute nodes.
func (d *drillSession) client(asked string) (string, error) {
	computes := d.sess.file.AllComputes()
	for _, n := range computes {
		_, reached := d.sess.view.Hosts[n.Hostname]
		switch {
		case asked == n.Hostname && !reached:
			return "", fmt.Errorf("--client %s: %w", asked, d.sess.view.Errs[asked])
		case reached && (asked == "" || asked == n.Hostname):
			return n.Hostname, nil
		}
	}
	if asked != "" {
		return "", usageError(fmt.Errorf("--client %s: no such compute node in the cluster file", asked))
	}
	if len(computes) > 0 {
		return "", errors.New("no compute node answers: the clients need one")
	}
	return "", nil
}

// say tells with the time of day what happens.
func (d *drillSession) say(text string) {
	if !d.app.quiet {
		fmt.Fprintf(d.app.stderr, "%s %s\n", time.Now().Format("15:04:05.000"), text)
	}
}

// lookLimit bounds one look: heads that are off must not hold it up for long.
const lookLimit = 40 * time.Second

func (d *drillSession) look(ctx context.Context) (cluster.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.sess.reach(ctx); err != nil {
		return cluster.Status{}, err
	}
	vitals, err := d.sess.ask(ctx)
	if err != nil {
		return cluster.Status{}, err
	}
	return d.sess.view.Status(vitals), nil
}

func (d *drillSession) host(name string) (host.Host, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h, ok := d.sess.view.Hosts[name]
	return h, ok
}

// plan lists the steps that `up` would take.
func (d *drillSession) plan(ctx context.Context) ([]string, error) {
	d.mu.Lock()
	view := *d.sess.view // its own states; the connections are shared
	d.mu.Unlock()
	if err := view.Observe(ctx, all.Services()); err != nil {
		return nil, err
	}
	p, err := view.Plan(service.Intent{Mode: service.Auto}, nil)
	if err != nil {
		return nil, err
	}
	prop, err := plan.Propose(ctx, p, view.Readers())
	if err != nil {
		return nil, err
	}
	var out []string
	for _, ph := range prop.Plan.Phases {
		for _, stage := range ph.Stages {
			for _, s := range stage.Steps {
				out = append(out, fmt.Sprintf("%s %s: %s", ph.Name, s.Host, s.Action))
			}
		}
	}
	return out, nil
}

// spec is a host of the cluster file.
func (d *drillSession) spec(name string) (config.HostSpec, bool) {
	for _, h := range d.sess.file.AllHosts() {
		if h.Hostname == name {
			return h, true
		}
	}
	return config.HostSpec{}, false
}

// sabotageVariable names a file of statements that are run in the drill's own
// database before it is read: what proves that the checks can fail.
const sabotageVariable = "MULTIHEAD_DRILL_SABOTAGE"

func (d *drillSession) sabotage() func(context.Context) error {
	statement := os.Getenv(sabotageVariable)
	if statement == "" || d.env.Outside == nil { // in a lab alone
		return nil
	}
	return func(ctx context.Context) error {
		d.say("sabotage: " + statement)
		return drill.Statement(ctx, d.env, statement)
	}
}
