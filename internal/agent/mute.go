package agent

import (
	"context"
	"errors"
	"net"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"multihead/internal/config"
	"multihead/internal/service"
)

// muteFor is how long the kernel of a peer may leave a beat unacknowledged, and the
// peer say nothing, before it counts as mute. A kernel acknowledges also while the
// agent hangs, or the whole host has no time: what is mute has no power or no
// network. In that time a beat is sent four times (after 0, 10, 200 and 600 ms), so
// that one packet in ten may be lost, each way, and one beat in a thousand is; and
// all agents have to find it at once. Beats and judgements are at the same quarters of
// a second, beats a moment later: it is less than 750 ms, or another quarter would pass.
const muteFor = 700 * time.Millisecond

// outliveFor is how long what waits for a head that fell silent is ended again and
// again: until then the services have found out by themselves.
const outliveFor = 15 * time.Second

// mutes follows which peers' kernels acknowledge nothing. The agent's mutex guards it.
type mutes struct {
	since    map[string]time.Time          // peer → when what is not acknowledged was sent
	names    []string                      // those that are mute; the beats say it
	urgent   chan struct{}                 // closed when the beats have something new of that to say
	heard    chan struct{}                 // another says that it finds somebody mute
	outlived map[string]context.CancelFunc // heads that are silent to all, once that was seen
}

func newMutes() mutes {
	return mutes{since: map[string]time.Time{}, urgent: make(chan struct{}), heard: make(chan struct{}, 1), outlived: map[string]context.CancelFunc{}}
}

// said has a beat judged at once that says whom its sender finds mute.
func (m *mutes) said(names []string) {
	if len(names) == 0 {
		return
	}
	select {
	case m.heard <- struct{}{}:
	default: // it is about to be judged
	}
}

// acknowledges records that a peer's kernel answers.
func (a *Agent) acknowledges(peer string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.mutes.since, peer)
}

// see records whether a peer's kernel has acknowledged the beat that was sent.
func (a *Agent) see(peer string, c net.Conn, sent time.Time) {
	waits, err := unacknowledges(c)
	if err != nil {
		return // the connection has ended; what comes next will tell
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case !waits:
		delete(a.mutes.since, peer)
	case a.mutes.since[peer].IsZero():
		a.mutes.since[peer] = sent
	}
}

// tcpEstablished is the state of a connection that both ends hold (tcp_states.h).
const tcpEstablished = 1

// unacknowledges says whether something was sent that the other end's kernel has not
// acknowledged (tcp(7), TCP_INFO). What waits for room at the other end was not sent.
// A connection that was given up has nothing sent any more, and tells nothing.
func unacknowledges(c net.Conn) (bool, error) {
	tcp, ok := c.(syscall.Conn)
	if !ok {
		return false, errors.ErrUnsupported
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return false, err
	}
	var info *unix.TCPInfo
	cerr := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	if err = errors.Join(cerr, err); err != nil {
		return false, err
	}
	if info.State != tcpEstablished {
		return false, errors.New("the connection has ended")
	}
	return info.Unacked > 0, nil
}

// ended takes how a connection with a peer ended, or was not made. Only a refusal and a
// reset were sent by its kernel; all else this one may have found by itself: that the
// time is up, that nobody knows the way, or that it has given the connection up before.
func (a *Agent) ended(peer string, err error) error {
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) {
		a.acknowledges(peer)
	}
	return err
}

// fellSilent sees who is mute, and returns the heads that are so to all since the last
// time. The caller holds the mutex.
func (a *Agent) fellSilent(e Electorate, now time.Time) []service.Silence {
	var names []string
	for _, name := range a.electorate.Peers {
		since, waits := a.mutes.since[name]
		if waits && now.Sub(since) >= muteFor && now.Sub(a.peers[name].at) >= muteFor {
			names = append(names, name)
		}
	}
	if !slices.Equal(names, a.mutes.names) {
		a.mutes.names = names
		close(a.mutes.urgent)
		a.mutes.urgent = make(chan struct{})
	}
	for name, cancel := range a.mutes.outlived {
		if !slices.Contains(names, name) {
			cancel()
			delete(a.mutes.outlived, name)
		}
	}
	var out []service.Silence
	for _, name := range names {
		if _, known := a.mutes.outlived[name]; known || !slices.Contains(e.Heads, name) || !silentToAll(e, name, names, a.peers, now) {
			continue
		}
		a.mutes.outlived[name] = func() {}
		out = append(out, service.Silence{Head: a.spec(name), Since: a.mutes.since[name]})
	}
	return out
}

// silentToAll says whether a peer that is mute to this agent is so to all that count
// with it, and those are more than half. Who is mute as well is not asked.
func silentToAll(e Electorate, name string, mute []string, peers map[string]heard, now time.Time) bool {
	agree := 1
	for _, p := range e.Peers {
		h, ok := peers[p]
		if !ok || now.Sub(h.at) > freshFor || !h.standsWith(e.Self) || slices.Contains(mute, p) {
			continue
		}
		if !slices.Contains(h.Mute, name) {
			return false
		}
		agree++
	}
	return 2*agree > len(e.Peers)+1
}

// outlive has every service here end what waits for a head that fell silent.
func (a *Agent) outlive(ctx context.Context, s service.Silence) {
	ctx, cancel := context.WithTimeout(ctx, outliveFor)
	context.AfterFunc(ctx, cancel) // also where its time is over
	a.mu.Lock()
	a.mutes.outlived[s.Head.Hostname] = cancel
	a.mu.Unlock()
	a.Log.Warn("silent to all", "head", s.Head.Hostname, "for", time.Since(s.Since).Round(time.Millisecond))
	for _, svc := range a.Services {
		survivor, ok := svc.(service.Survivor)
		if !ok || !a.Cluster.Runs(a.Name, svc.Name()) {
			continue
		}
		go func() {
			err := survivor.Outlive(ctx, a.Local, a.Cluster, s, func(what string) {
				a.event("takeover", a.Name, svc.Name(), what, s.Head.Hostname+"'s kernel acknowledges nothing to any agent that is heard")
			})
			if err != nil && ctx.Err() == nil {
				a.Log.Error("outliving a silent head", "service", svc.Name(), "head", s.Head.Hostname, "error", err)
			}
		}()
	}
}

// spec is a host's entry in the cluster file.
func (a *Agent) spec(name string) config.HostSpec {
	for _, s := range a.Cluster.HeadsAndWitnesses() {
		if s.Hostname == name {
			return s
		}
	}
	return config.HostSpec{Hostname: name}
}
