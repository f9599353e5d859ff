package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// login connects, checks the host key and logs in.
func (d *Dialer) login(ctx context.Context, watch *stopwatch, e endpoint, tm *Timing) (*ssh.Client, error) {
	fail := func(class Class, err error) error {
		out := &Error{Host: e.name, Address: e.addr(), Class: class, During: watch.doing(), Limit: watch.told(), Err: err}
		if errors.Is(context.Cause(ctx), errTimeLimit) {
			out.Class, out.Err = Timeout, errTimeLimit
		} else if ctx.Err() != nil {
			out.Class, out.Err = StartFailed, ctx.Err()
		}
		return out
	}
	begin := time.Now()
	watch.now("connecting")
	raw, err := d.socket(ctx, watch, e)
	if err != nil {
		if _, ok := errors.AsType[*Error](err); ok {
			return nil, err
		}
		class := dialClass(err)
		if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
			err = op.Err // the address is in the message already
		}
		return nil, fail(class, err)
	}
	tm.Connect = time.Since(begin)
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	watch.now("agreeing on keys")
	key, algos, err := d.pins.check(e)
	if err != nil {
		_ = raw.Close()
		return nil, fail(BadSettings, err)
	}
	var notes []error
	conf := &ssh.ClientConfig{
		User:              e.user,
		HostKeyAlgorithms: algos,
		HostKeyCallback: func(name string, remote net.Addr, k ssh.PublicKey) error {
			tm.Keys = time.Since(begin) - tm.Connect
			watch.now("logging in")
			return key.callback(name, remote, k)
		},
		Auth: d.methods(ctx, watch, e, &notes, tm),
	}
	c, chans, reqs, err := ssh.NewClientConn(raw, e.hostPort(), conf)
	if err != nil {
		_ = raw.Close()
		return nil, d.explainLogin(fail, key, algos, notes, err)
	}
	tm.Login = time.Since(begin) - tm.Connect - tm.Keys
	return ssh.NewClient(c, chans, reqs), nil
}

// explainLogin says at which step a login failed.
func (d *Dialer) explainLogin(fail func(Class, error) error, key *check, algos []string, notes []error, err error) error {
	out := fail(Unreachable, err)
	e, ok := errors.AsType[*Error](out)
	negotiation, noCommon := errors.AsType[*ssh.AlgorithmNegotiationError](err)
	switch {
	case !ok || e.Class == Timeout || e.Class == StartFailed:
	case key.class != "":
		e.Class, e.Err, e.Key = key.class, key.err, key.seen
	case noCommon && key.as != "":
		e.Class = HostKeyChanged
		e.Err = fmt.Errorf("it no longer has a key of the kind pinned in %s (%v): %w", key.file.path, algos, negotiation)
	case key.seen != nil: // the key was right: what failed is the login
		e.Class, e.Err = AuthFailed, notTaken(key.e, err, notes)
		if d.opt.Password != "" && !key.e.isJump {
			e.Hint = "check ssh_user, ssh_key_path and ssh_password in the cluster file"
		}
	default:
		e.Hint = "something other than an SSH server may be answering, or sshd turns connections away (MaxStartups)"
	}
	return out
}

// notTaken says what was tried at a login that failed, with what kept other
// keys from being tried.
func notTaken(e endpoint, err error, notes []error) error {
	text := strings.TrimPrefix(err.Error(), "ssh: handshake failed: ")
	if _, tried, ok := strings.Cut(text, "attempted methods [none"); ok {
		tried, _, _ = strings.Cut(tried, "]")
		if tried = strings.TrimSpace(tried); tried == "" {
			text = "there was nothing to log in with as " + e.user
		} else {
			text = fmt.Sprintf("it takes no %s of ours for %s", strings.Join(strings.Fields(tried), " and no "), e.user)
		}
	}
	for _, n := range notes {
		text += "; " + n.Error()
	}
	return errors.New(text)
}

// socket opens the way to a host, through its jump hosts.
func (d *Dialer) socket(ctx context.Context, watch *stopwatch, e endpoint) (net.Conn, error) {
	if len(e.jumps) == 0 {
		return new(net.Dialer).DialContext(ctx, "tcp", e.hostPort())
	}
	via, err := d.jump(ctx, watch, e)
	if err != nil {
		return nil, err
	}
	c, err := via.DialContext(ctx, "tcp", e.hostPort())
	if err != nil {
		return nil, fmt.Errorf("through jump host %s: %w", e.jumps[len(e.jumps)-1], err)
	}
	return c, nil
}
