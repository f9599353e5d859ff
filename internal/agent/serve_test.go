package agent

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"math/big"
	"net/netip"
	"sync"
	"testing"
	"time"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/host/hosttest"
)

// authority signs the certificates of a test's agents.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newTestAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test agents"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t, cert, key}
}

func (ca *authority) identity(name string) *identity {
	ca.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		ca.t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		ca.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	return &identity{own: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots: roots}
}

// lockable is a machine in memory that one at a time may lock.
type lockable struct {
	*hosttest.Machine
	mu    sync.Mutex
	taken bool
}

func machine(name string) *lockable { return &lockable{Machine: hosttest.New(name)} }

func (l *lockable) Lock(context.Context, host.Owner) (host.Lease, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.taken {
		return nil, &host.LockedError{Host: l.Name()}
	}
	l.taken = true
	return l, nil
}

func (l *lockable) Holder(context.Context, *host.Owner) (*host.LockedError, error) { return nil, nil }

func (l *lockable) Release(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.taken = false
	return nil
}

// running starts an agent's listener and returns the agent.
func running(t *testing.T, c *config.Cluster, name string, id *identity, m host.Host) *Agent {
	t.Helper()
	a, err := New(Options{Name: name, Version: "test", Cluster: c, Local: m, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	a.id = id
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.listen(ctx, id) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return a
}

// Two heads and a witness on loopback addresses of their own.
func threeAgents(t *testing.T) (*config.Cluster, *authority) {
	c := clusterOf(2, 1)
	c.Nodes.Controllers[0].Address = netip.MustParseAddr("127.0.5.1")
	c.Nodes.Controllers[1].Address = netip.MustParseAddr("127.0.5.2")
	c.Witnesses[0].Address = netip.MustParseAddr("127.0.5.3")
	return c, newTestAuthority(t)
}

func reachSoon(t *testing.T, a *Agent, c *config.Cluster) (map[string]host.Host, map[string]error) {
	t.Helper()
	for {
		reached, failed, err := a.reach(t.Context(), c.AllHosts())
		if err != nil {
			t.Fatal(err)
		}
		if len(reached) == 3 || t.Context().Err() != nil {
			return reached, failed
		}
		for _, h := range reached { // a listener is not there yet
			_ = h.(interface{ Close() error }).Close()
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestAHeadReachesTheOthersThroughTheirAgentsAndLocksThem(t *testing.T) {
	c, ca := threeAgents(t)
	b := machine("b")
	a := running(t, c, "a", ca.identity("a"), machine("a"))
	running(t, c, "b", ca.identity("b"), b)
	running(t, c, "w", ca.identity("w"), machine("w"))
	reached, failed := reachSoon(t, a, c)
	if len(reached) != 3 {
		t.Fatalf("reached %v, failed %v", reached, failed)
	}
	if err := reached["b"].WriteFile(t.Context(), "/etc/f", []byte("x"), host.Attr{}); err != nil {
		t.Error(err)
	}
	if got, err := b.ReadFile(t.Context(), "/etc/f"); err != nil || string(got) != "x" {
		t.Errorf("%q, %v", got, err)
	}
	for name, h := range reached {
		if _, err := h.(host.Locker).Lock(t.Context(), host.Owner{User: "agent"}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		_ = h.(interface{ Close() error }).Close()
	}
	// The lock ends with the connection, on the agent's own host as elsewhere.
	again, _ := reachSoon(t, a, c)
	for name, h := range again {
		var held *host.LockedError
		for {
			_, err := h.(host.Locker).Lock(t.Context(), host.Owner{User: "agent"})
			if !errors.As(err, &held) || t.Context().Err() != nil {
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
				break
			}
		}
		_ = h.(interface{ Close() error }).Close()
	}
}

func TestAWitnessCannotGiveCommands(t *testing.T) {
	c, ca := threeAgents(t)
	b := machine("b")
	w := running(t, c, "w", ca.identity("w"), machine("w"))
	running(t, c, "a", ca.identity("a"), machine("a"))
	running(t, c, "b", ca.identity("b"), b)
	reachedOwn := false
	for !reachedOwn { // the listeners are there
		reached, _, err := w.reach(t.Context(), c.AllHosts())
		if err != nil {
			t.Fatal(err)
		}
		for name, h := range reached {
			if name != "w" {
				t.Errorf("a witness reached %s", name)
			}
			reachedOwn = true
			_ = h.(interface{ Close() error }).Close()
		}
	}
	if n := len(b.Changes()); n > 0 {
		t.Errorf("and changed it: %v", b.Changes())
	}
}

func TestAStrangerIsNotServed(t *testing.T) {
	c, ca := threeAgents(t)
	running(t, c, "b", ca.identity("b"), hosttest.New("b"))
	for name, id := range map[string]*identity{
		"of another authority":  newTestAuthority(t).identity("a"),
		"of a name not in file": ca.identity("z"),
	} {
		a, err := New(Options{Name: "a", Cluster: c, Local: hosttest.New("a"), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		id.roots.AddCert(ca.cert) // it believes the other side
		a.id = id
		if h, err := a.session(t.Context(), c.Nodes.Controllers[1].HostSpec); err == nil {
			t.Errorf("%s: served %s", name, h.Name())
		}
	}
}
