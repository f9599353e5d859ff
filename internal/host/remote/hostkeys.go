package remote

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
)

// HostKey is a key that a machine offered.
type HostKey struct {
	Host    string // the machine's name in the cluster file
	Address string // host:port as known_hosts has it
	Key     ssh.PublicKey
}

// Fingerprint is the key's, as ssh-keygen -lf shows it.
func (k HostKey) Fingerprint() string { return ssh.FingerprintSHA256(k.Key) }

// Type is the kind of key: "ssh-ed25519".
func (k HostKey) Type() string { return k.Key.Type() }

// pins are the known_hosts files, in the order that they are believed: the
// first that knows an address decides.
type pins struct {
	record string // where new keys go

	mu    sync.RWMutex
	files []pinFile
}

type pinFile struct {
	path string
	db   *knownhosts.HostKeyDB
}

func loadPins(paths []string, record string) (*pins, error) {
	p := &pins{record: record}
	for _, path := range paths {
		db, err := readPins(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		p.files = append(p.files, pinFile{path, db})
	}
	return p, nil
}

// readPins reads one file. A line that this parser does not know (old files
// have such) is left out, as ssh(1) does, instead of hiding all the others.
func readPins(path string) (*knownhosts.HostKeyDB, error) {
	db, err := knownhosts.NewDB(path)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return db, err
	}
	data, rerr := os.ReadFile(path)
	if rerr != nil {
		return nil, rerr
	}
	var good bytes.Buffer
	for line := range bytes.Lines(data) {
		if _, _, _, _, _, err := ssh.ParseKnownHosts(line); err == nil {
			good.Write(line)
		}
	}
	f, err := os.CreateTemp("", "multihead-known-*")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, werr := f.Write(good.Bytes())
	if err := errors.Join(werr, f.Close()); err != nil {
		return nil, err
	}
	if db, err = knownhosts.NewDB(f.Name()); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return db, nil
}

// lookup finds the file that decides over an endpoint. extra files come last.
// byName says that only its name is known, not its address.
func (p *pins) lookup(e endpoint, extra []pinFile) (file pinFile, as string, byName bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	files := append(slices.Clone(p.files), extra...)
	port := strconv.Itoa(e.port)
	names := []string{e.host, e.name}
	if e.keyAlias != "" {
		names = []string{e.keyAlias}
	}
	for i, name := range names {
		if name == "" {
			continue
		}
		for _, f := range files {
			if as = net.JoinHostPort(name, port); len(f.db.HostKeys(as)) > 0 {
				return f, as, i > 0
			}
		}
	}
	return pinFile{}, "", false
}

// check is the host key callback of one connection, and the algorithms to ask
// for: those of the pinned keys, so that a machine with several keys offers
// one that is known.
type check struct {
	e      endpoint
	file   pinFile
	as     string
	byName bool

	seen  *HostKey
	class Class
	err   error
}

func (p *pins) check(e endpoint) (*check, []string, error) {
	var extra []pinFile
	for _, path := range e.known {
		db, err := readPins(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		extra = append(extra, pinFile{path, db})
	}
	c := &check{e: e}
	c.file, c.as, c.byName = p.lookup(e, extra)
	algos := defaultHostKeyAlgos()
	if c.as != "" && !c.byName {
		algos = preferred(c.file.db.HostKeyAlgorithms(c.as))
	}
	return c, algos, nil
}

// defaultHostKeyAlgos puts the cheapest and most common first.
func defaultHostKeyAlgos() []string {
	return []string{
		ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
		ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256,
	}
}

// preferred orders algorithms by our preference; what is not in it (host
// certificates) goes first, since it is pinned on purpose.
func preferred(algos []string) []string {
	order := defaultHostKeyAlgos()
	rank := func(a string) int { return slices.Index(order, a) }
	out := slices.Clone(algos)
	slices.SortStableFunc(out, func(a, b string) int { return rank(a) - rank(b) })
	return out
}

// callback is an ssh.HostKeyCallback.
func (c *check) callback(_ string, remote net.Addr, key ssh.PublicKey) error {
	c.seen = &HostKey{Host: c.e.name, Address: net.JoinHostPort(c.e.host, strconv.Itoa(c.e.port)), Key: key}
	if c.as == "" {
		c.class, c.err = HostKeyUnknown, fmt.Errorf("it offers %s %s", key.Type(), c.seen.Fingerprint())
		return c.err
	}
	err := c.file.db.HostKeyCallback()(c.as, remote, key)
	if err == nil {
		return nil
	}
	if c.byName && knownhosts.IsHostKeyChanged(err) {
		// The name is known for another address: another cluster may well
		// have a server1 too. Its address has never been seen: ask.
		c.class, c.err = HostKeyUnknown, fmt.Errorf("it offers %s %s, and %s has another key for the name %s",
			key.Type(), c.seen.Fingerprint(), c.file.path, c.e.name)
		return c.err
	}
	c.class = HostKeyChanged
	c.err = fmt.Errorf("it offers %s %s, which is not the one in %s (%w)", key.Type(), c.seen.Fingerprint(), c.file.path, err)
	return c.err
}

// trust records keys in the known_hosts file for new keys and reads it again.
func (p *pins) trust(keys []HostKey) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := os.MkdirAll(filepath.Dir(p.record), 0o700); err != nil {
		return fmt.Errorf("known_hosts: %w", err)
	}
	f, err := os.OpenFile(p.record, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("known_hosts: %w", err)
	}
	var lines bytes.Buffer
	if fi, err := f.Stat(); err == nil && fi.Size() > 0 {
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, fi.Size()-1); err == nil && last[0] != '\n' {
			lines.WriteByte('\n')
		}
	}
	for _, k := range keys {
		fmt.Fprintln(&lines, knownhosts.Line([]string{knownhosts.Normalize(k.Address)}, k.Key))
	}
	_, werr := f.Write(lines.Bytes())
	if err := errors.Join(werr, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("known_hosts: %w", err)
	}
	db, err := readPins(p.record)
	if err != nil {
		return err
	}
	for i := range p.files {
		if p.files[i].path == p.record {
			p.files[i].db = db
			return nil
		}
	}
	p.files = append(p.files, pinFile{p.record, db})
	return nil
}
