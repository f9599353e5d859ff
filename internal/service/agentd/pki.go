package agentd

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"time"
)

// How long certificates last. Nobody renews them by hand: up issues a new one
// for whoever has less than renewBefore left.
const (
	authorityLife = 30 * 365 * 24 * time.Hour
	agentLife     = 5 * 365 * 24 * time.Hour
	renewBefore   = 365 * 24 * time.Hour
	// clockSkew is how far a host's clock may be behind when it first meets
	// its certificate.
	clockSkew = 24 * time.Hour
)

// pair is a certificate with its key, both in PEM.
type pair struct{ cert, key []byte }

func (p pair) empty() bool { return len(p.cert) == 0 || len(p.key) == 0 }

// newAuthority makes the authority of a cluster: agents trust each other by it
// and nobody else by anything.
func newAuthority(cluster string, now time.Time) (pair, error) {
	t := &x509.Certificate{
		Subject: pkix.Name{CommonName: cluster + " agents"}, NotBefore: now.Add(-clockSkew), NotAfter: now.Add(authorityLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	return sign(t, nil, nil)
}

// issue makes the certificate of one agent.
func issue(ca pair, hostname string, addrs []netip.Addr, now time.Time) (pair, error) {
	parent, err := parseCert(ca.cert)
	if err != nil {
		return pair{}, err
	}
	signer, err := parseKey(ca.key)
	if err != nil {
		return pair{}, err
	}
	t := &x509.Certificate{
		Subject: pkix.Name{CommonName: hostname}, DNSNames: []string{hostname},
		NotBefore: now.Add(-clockSkew), NotAfter: now.Add(agentLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, a := range addrs {
		if a.IsValid() {
			t.IPAddresses = append(t.IPAddresses, net.IP(a.AsSlice()))
		}
	}
	return sign(t, parent, signer)
}

// sign makes a key and has its certificate signed, by itself without a parent.
func sign(t, parent *x509.Certificate, signer *ecdsa.PrivateKey) (pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, fmt.Errorf("agent certificates: %w", err)
	}
	if t.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return pair{}, fmt.Errorf("agent certificates: %w", err)
	}
	if parent == nil {
		parent, signer = t, key
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, &key.PublicKey, signer)
	if err != nil {
		return pair{}, fmt.Errorf("agent certificates: %w", err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return pair{}, fmt.Errorf("agent certificates: %w", err)
	}
	return pair{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})}, nil
}

func parseCert(data []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("no certificate in it")
	}
	return x509.ParseCertificate(block.Bytes)
}

func parseKey(data []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("no private key in it")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("the key is of another kind")
	}
	return ec, nil
}

// authority says whether a pair is an authority that can sign at that time.
func (p pair) authority(now time.Time) bool {
	if p.empty() {
		return false
	}
	cert, err := parseCert(p.cert)
	key, kerr := parseKey(p.key)
	return err == nil && kerr == nil && cert.IsCA && now.Before(cert.NotAfter) && key.PublicKey.Equal(cert.PublicKey)
}

// serves says whether a certificate is what a host's agent needs: signed by the
// authority, of that host and its addresses, and good for some time to come.
func serves(cert, ca []byte, hostname string, addrs []netip.Addr, now time.Time) bool {
	c, err := parseCert(cert)
	parent, perr := parseCert(ca)
	if err != nil || perr != nil || c.CheckSignatureFrom(parent) != nil {
		return false
	}
	if !slices.Equal(c.DNSNames, []string{hostname}) || now.Add(renewBefore).After(c.NotAfter) || now.Before(c.NotBefore) {
		return false
	}
	for _, a := range addrs {
		if a.IsValid() && !slices.ContainsFunc(c.IPAddresses, func(ip net.IP) bool { return bytes.Equal(ip, a.AsSlice()) || ip.Equal(net.IP(a.AsSlice())) }) {
			return false
		}
	}
	return true
}

// join is a pair as one file, which is written in one step: a certificate never
// lies beside the key of another.
func (p pair) join() []byte { return append(bytes.Clone(p.cert), p.key...) }

// split takes such a file apart.
func split(file []byte) pair {
	var p pair
	for {
		block, rest := pem.Decode(file)
		if block == nil {
			return p
		}
		switch block.Type {
		case "CERTIFICATE":
			p.cert = pem.EncodeToMemory(block)
		case "PRIVATE KEY":
			p.key = pem.EncodeToMemory(block)
		}
		file = rest
	}
}
