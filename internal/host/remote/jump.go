package remote

import (
	"context"
	"errors"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
)

// maxJumps is how many jump hosts may lie on the way to one host.
const maxJumps = 8

// jump is a connection to a jump host, shared by all hosts behind it.
type jump struct {
	mu     sync.Mutex
	client *ssh.Client
}

// jump returns a client at the last of the hops, made once for all.
func (d *Dialer) jump(ctx context.Context, watch *stopwatch, hops []string) (*ssh.Client, error) {
	if len(hops) > maxJumps {
		return nil, errors.New("too many jump hosts: do they jump through each other?")
	}
	id := strings.Join(hops, ",")
	d.mu.Lock()
	j := d.jumps[id]
	if j == nil {
		j = &jump{}
		d.jumps[id] = j
	}
	d.mu.Unlock()
	watch.now("connecting to jump host " + hops[len(hops)-1])
	j.mu.Lock() // whoever comes first connects; the others wait for it
	defer j.mu.Unlock()
	if j.client != nil {
		return j.client, nil
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	e, err := d.config.jump(hops[len(hops)-1])
	if err != nil {
		return nil, err
	}
	switch {
	case len(hops) > 1:
		e.jumps = hops[:len(hops)-1]
	case len(e.jumps) > 0: // a jump host that itself is behind others
		if len(e.jumps)+1 > maxJumps {
			return nil, errors.New("too many jump hosts: do they jump through each other?")
		}
	}
	client, err := d.login(ctx, watch, e, &Timing{})
	if err != nil {
		return nil, err
	}
	j.client = client
	go func() {
		_ = client.Wait() // cut off: the next who needs it connects anew
		j.mu.Lock()
		defer j.mu.Unlock()
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
		j.mu.Lock()
		if j.client != nil {
			errs = append(errs, j.client.Close())
		}
		j.mu.Unlock()
	}
	return errors.Join(errs...)
}
