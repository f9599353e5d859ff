package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"multihead/internal/config"
	"multihead/internal/service/agentd"
)

const (
	// beatEvery is the pause between two beats.
	beatEvery = 500 * time.Millisecond
	// dialLimit is how long a connection may take to be made, handshake and
	// all.
	dialLimit = 2 * time.Second
	// silentLimit ends a connection on which nothing comes any more.
	silentLimit = 10 * time.Second
	// unacknowledged is how long a peer may leave data unacknowledged.
	unacknowledged = 3 * time.Second
	// leaveLimit is how long the end of an agent waits for its last beat to be taken.
	leaveLimit = 500 * time.Millisecond
	// maxBeat bounds one beat, in bytes.
	maxBeat = 64 << 10
)

// identity is this agent's certificate, and the authority of the others'.
type identity struct {
	own   tls.Certificate
	roots *x509.CertPool
}

func loadIdentity() (*identity, error) {
	own, err := tls.LoadX509KeyPair(agentd.PairFile, agentd.PairFile)
	if err != nil {
		return nil, fmt.Errorf("the agent's certificate: %w (multihead up makes it)", err)
	}
	ca, err := os.ReadFile(agentd.CAFile)
	if err != nil {
		return nil, fmt.Errorf("the agents' authority: %w (multihead up makes it)", err)
	}
	t := &identity{own: own, roots: x509.NewCertPool()}
	if !t.roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%s has no certificate in it", agentd.CAFile)
	}
	return t, nil
}

func (t *identity) server() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{t.own}, ClientCAs: t.roots, ClientAuth: tls.RequireAndVerifyClientCert, NextProtos: []string{beats, commands}}
}

func (t *identity) client(peer string) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{t.own}, RootCAs: t.roots, ServerName: peer}
}

// listen takes the other agents' beats.
func (a *Agent) listen(ctx context.Context, t *identity) error {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(a.spec(a.Name).Address.String(), strconv.Itoa(agentd.Port)))
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	conf := t.server()
	for {
		raw, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() {
				continue
			}
			return err
		}
		go a.hear(ctx, tls.Server(raw, conf))
	}
}

// hear reads one agent's beats until it falls silent.
func (a *Agent) hear(ctx context.Context, c *tls.Conn) {
	defer func() { _ = c.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	limited, cancel := context.WithTimeout(ctx, dialLimit)
	err := c.HandshakeContext(limited)
	cancel()
	if err != nil {
		a.Log.Debug("a connection was refused", "from", c.RemoteAddr(), "error", err)
		return
	}
	if a.turnAway(c) {
		return
	}
	from := c.ConnectionState().PeerCertificates[0].Subject.CommonName
	if !slices.Contains(a.electorate.Peers, from) {
		a.Log.Warn("an agent that is not in the cluster file", "name", from, "address", c.RemoteAddr())
		return
	}
	if c.ConnectionState().NegotiatedProtocol == commands {
		a.serve(ctx, c, from)
		return
	}
	dec := json.NewDecoder(&bounded{c: c})
	for {
		_ = c.SetReadDeadline(time.Now().Add(silentLimit))
		var b Beat
		if err := dec.Decode(&b); err != nil {
			return
		}
		b.Name = from // whatever it says it is
		a.mu.Lock()
		old, known := a.peers[from]
		a.peers[from] = heard{b, time.Now()}
		a.clocks.take(a.Name, b)
		a.mu.Unlock()
		a.mutes.said(b.Mute)
		if !known || time.Since(old.at) > freshFor {
			a.Log.Info("hears", "agent", from)
		}
	}
}

// bounded ends a stream that sends more than beats in a beat's time.
type bounded struct {
	c     net.Conn
	since time.Time
	n     int
}

func (b *bounded) Read(p []byte) (int, error) {
	if time.Since(b.since) > beatEvery {
		b.since, b.n = time.Now(), 0
	}
	n, err := b.c.Read(p)
	if b.n += n; b.n > 16*maxBeat {
		return n, errors.New("too much")
	}
	return n, err
}

// talk sends beats to one peer for as long as ctx lasts.
func (a *Agent) talk(ctx context.Context, t *identity, peer config.HostSpec) {
	for ctx.Err() == nil {
		if err := a.beat(ctx, t, peer); err != nil && ctx.Err() == nil {
			a.Log.Debug("cannot talk", "to", peer.Hostname, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(beatEvery):
		}
	}
}

func (a *Agent) beat(ctx context.Context, t *identity, peer config.HostSpec) error {
	limited, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	conf := t.client(peer.Hostname)
	conf.NextProtos = []string{beats}
	raw, err := (&net.Dialer{Control: giveUp}).DialContext(limited, "tcp", net.JoinHostPort(peer.Address.String(), strconv.Itoa(agentd.Port)))
	if err != nil {
		return a.ended(peer.Hostname, err)
	}
	a.acknowledges(peer.Hostname) // its kernel made the connection, whatever its agent does
	c := tls.Client(raw, conf)
	defer func() { _ = c.Close() }()
	if err := c.HandshakeContext(limited); err != nil {
		return err
	}
	go a.listenFor(c, peer.Hostname) // ends with the connection
	enc := json.NewEncoder(c)
	for {
		now, urgent := a.now()
		sent := time.Now()
		// A peer that is off takes no more; the kernel's buffer would for long.
		_ = c.SetWriteDeadline(sent.Add(dialLimit))
		if err := enc.Encode(now); err != nil {
			return a.ended(peer.Hostname, err)
		}
		select {
		case <-ctx.Done():
			return a.takeLeave(c, enc)
		case <-pulse(beatEvery):
			a.see(peer.Hostname, raw, sent)
		case <-urgent:
		}
	}
}

// takeLeave tells a peer that this agent ends because it is meant to, so that the
// silence after it is not taken for a death. An agent that fails says nothing.
func (a *Agent) takeLeave(c net.Conn, enc *json.Encoder) error {
	if !a.stopped() {
		return nil
	}
	last, _ := a.now()
	last.Leaving = true
	_ = c.SetWriteDeadline(time.Now().Add(leaveLimit))
	return enc.Encode(last)
}

// giveUp has the kernel end a connection whose peer acknowledges nothing: one
// that was cut and mended again would else wait for a retransmission that comes
// a minute later.
func giveUp(_, _ string, raw syscall.RawConn) error {
	var err error
	cerr := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unacknowledged.Milliseconds()))
	})
	return errors.Join(cerr, err)
}

// saysNothingFor is how long an agent that has started does not say whom it stands
// with: the others have to hear it first, and it them.
const saysNothingFor = 2 * freshFor

// now is this agent's beat, and what is closed when the next is not to wait.
func (a *Agent) now() (Beat, <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seq++
	var with []string
	if time.Since(a.started) > saysNothingFor {
		with = append([]string{a.Name}, a.side.with...)
	}
	return Beat{Name: a.Name, Seq: a.seq, Verdict: Verdict{Bad: copyOf(a.bad), Maintained: a.maint != nil}, Maintenance: a.maint, Holds: a.holds, Fit: a.fit,
		Unable: a.isHead && a.Cluster.Runs(a.Name, config.Keepalived) && !keepalivedLives(),
		Hears:  a.hears(time.Now()), With: with, Proven: a.ownProofs(), Back: slices.Sorted(maps.Keys(a.fencing.on)), Mute: a.mutes.names,
		Sent: a.clocks.wall().UnixNano(), Late: a.clocks.lates(time.Now())}, a.mutes.urgent
}
