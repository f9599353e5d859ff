package remote

import (
	"context"
	"errors"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// jump is a connection to a jump host, shared by all hosts behind it.
type jump struct {
	turn   chan struct{} // holds one token: who has it may look at client and connect
	client *ssh.Client
}

var errCircle = errors.New("the jump hosts jump through each other")

// jump returns a client at the last of e's jump hosts, made once for all.
func (d *Dialer) jump(ctx context.Context, watch *stopwatch, e endpoint) (*ssh.Client, error) {
	hops := e.jumps
	last := hops[len(hops)-1]
	id := strings.Join(hops, ",")
	if slices.Contains(e.behind, id) {
		return nil, errCircle
	}
	next, err := d.config.jump(last)
	if err != nil {
		return nil, err
	}
	if len(hops) > 1 { // written out in full; else the jump host's own way, if it has one
		next.jumps = hops[:len(hops)-1]
	}
	next.behind = append(slices.Clone(e.behind), id)

	d.mu.Lock()
	j := d.jumps[id]
	if j == nil {
		j = &jump{turn: make(chan struct{}, 1)}
		d.jumps[id] = j
	}
	d.mu.Unlock()
	watch.now("connecting to jump host " + last)
	select { // whoever comes first connects; the others wait for it
	case j.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-j.turn }()
	if j.client != nil {
		return j.client, nil
	}
	client, err := d.login(ctx, watch, next, &Timing{})
	if err != nil {
		return nil, err
	}
	j.client = client
	go func() {
		_ = client.Wait() // cut off: the next who needs it connects anew
		j.turn <- struct{}{}
		defer func() { <-j.turn }()
		if j.client == client {
			j.client = nil
		}
	}()
	return client, nil
}

// Close closes the connections to jump hosts. Hosts reached through them are
// cut off.
func (d *Dialer) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for _, j := range d.jumps {
		j.turn <- struct{}{}
		if j.client != nil {
			errs = append(errs, j.client.Close())
		}
		<-j.turn
	}
	return errors.Join(errs...)
}
