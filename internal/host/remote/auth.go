package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// secrets asks a person for passwords and passphrases, each once for all
// hosts, one question at a time.
type secrets struct {
	ask func(ctx context.Context, question string) (string, error)

	mu      sync.Mutex
	answers map[string]secretAnswer
}

type secretAnswer struct {
	value string
	err   error
}

var errNobodyToAsk = errors.New("there is nobody to ask")

// get asks a question that was not asked before. watch stops the clock of the
// connection that has to wait for the answer.
func (s *secrets) get(ctx context.Context, watch *stopwatch, question string) (string, error) {
	watch.pause()
	defer watch.resume()
	s.mu.Lock()
	defer s.mu.Unlock()
	if a, ok := s.answers[question]; ok {
		return a.value, a.err
	}
	if s.ask == nil {
		return "", errNobodyToAsk
	}
	v, err := s.ask(ctx, question)
	if s.answers == nil {
		s.answers = map[string]secretAnswer{}
	}
	s.answers[question] = secretAnswer{v, err}
	return v, err
}

// keyring is the private keys at hand: the agent's, and files that are read
// once.
type keyring struct {
	home    string
	secrets *secrets

	agentOnce sync.Once
	agentKeys []ssh.Signer

	mu    sync.Mutex
	files map[string]keyFile
}

type keyFile struct {
	signer ssh.Signer
	err    error
}

// signers are the keys to try for an endpoint, in order: those that are named
// for it, the agent's, the usual files. notes say why others are not among
// them.
func (k *keyring) signers(ctx context.Context, watch *stopwatch, e endpoint) (out []ssh.Signer, notes []error) {
	seen := map[string]bool{}
	add := func(s ssh.Signer) {
		if id := string(s.PublicKey().Marshal()); !seen[id] {
			seen[id] = true
			out = append(out, s)
		}
	}
	for _, path := range e.keys {
		s, err := k.load(ctx, watch, path)
		if err != nil {
			notes = append(notes, err)
			continue
		}
		add(s)
	}
	if e.only && len(e.keys) > 0 {
		return out, notes
	}
	for _, s := range k.agent(ctx) {
		add(s)
	}
	if len(e.keys) > 0 {
		return out, notes
	}
	for _, name := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
		s, err := k.load(ctx, watch, filepath.Join(k.home, ".ssh", name))
		switch {
		case err == nil:
			add(s)
		case !errors.Is(err, fs.ErrNotExist):
			notes = append(notes, err)
		}
	}
	return out, notes
}

// agent is the keys of the person's ssh-agent, none where there is none.
func (k *keyring) agent(ctx context.Context) []ssh.Signer {
	k.agentOnce.Do(func() {
		sock := os.Getenv("SSH_AUTH_SOCK")
		if sock == "" {
			return
		}
		c, err := new(net.Dialer).DialContext(ctx, "unix", sock)
		if err != nil {
			return
		}
		// The connection stays for as long as the process: signing goes
		// through it.
		keys, err := agent.NewClient(c).Signers()
		if err != nil {
			_ = c.Close()
			return
		}
		k.agentKeys = keys
	})
	return k.agentKeys
}

// load reads a private key file, asking for its passphrase where it has one
// and the agent does not hold the key.
func (k *keyring) load(ctx context.Context, watch *stopwatch, path string) (ssh.Signer, error) {
	watch.pause() // another connection may be asking for its passphrase
	k.mu.Lock()
	defer k.mu.Unlock()
	watch.resume()
	if f, ok := k.files[path]; ok {
		return f.signer, f.err
	}
	s, err := k.read(ctx, watch, path)
	if err != nil {
		err = fmt.Errorf("key %s: %w", path, err)
	}
	if k.files == nil {
		k.files = map[string]keyFile{}
	}
	k.files[path] = keyFile{s, err}
	return s, err
}

func (k *keyring) read(ctx context.Context, watch *stopwatch, path string) (ssh.Signer, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if fi.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("others can read it (mode %04o): chmod 600 it", fi.Mode().Perm())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s, err := ssh.ParsePrivateKey(data)
	missing, encrypted := errors.AsType[*ssh.PassphraseMissingError](err)
	if !encrypted {
		return s, err
	}
	if missing.PublicKey != nil {
		for _, a := range k.agent(ctx) {
			if bytes.Equal(a.PublicKey().Marshal(), missing.PublicKey.Marshal()) {
				return a, nil
			}
		}
	}
	phrase, err := k.secrets.get(ctx, watch, "Passphrase of the key "+path)
	if errors.Is(err, errNobodyToAsk) {
		return nil, errors.New("it has a passphrase: load it with ssh-add")
	}
	if err != nil {
		return nil, err
	}
	s, err = ssh.ParsePrivateKeyWithPassphrase(data, []byte(phrase))
	if err != nil {
		return nil, errors.New("the passphrase does not open it")
	}
	return s, nil
}

// methods are the ways to log in at an endpoint, in order. What kept keys
// from being tried is added to notes.
func (d *Dialer) methods(ctx context.Context, watch *stopwatch, e endpoint, notes *[]error, tm *Timing) []ssh.AuthMethod {
	keys := ssh.PublicKeysCallback(func() ([]ssh.Signer, error) {
		signers, why := d.keys.signers(ctx, watch, e)
		*notes = append(*notes, why...)
		return signers, nil
	})
	known := d.opt.Password != "" && !e.isJump // a jump host is none of the cluster's: its password does not go there
	if e.keyOnly || !known && d.opt.AskSecret == nil {
		return []ssh.AuthMethod{keys}
	}
	password := func() (string, error) {
		tm.Password = true
		if e.isJump {
			return d.secrets.get(ctx, watch, "Password of "+e.user+" at "+e.name)
		}
		return d.password(ctx, watch, e.user)
	}
	return []ssh.AuthMethod{
		keys,
		ssh.PasswordCallback(password),
		ssh.KeyboardInteractive(func(_, _ string, questions []string, echos []bool) ([]string, error) {
			answers := make([]string, len(questions))
			for i := range questions {
				if echos[i] {
					continue // not a password: nothing we know
				}
				p, err := password()
				if err != nil {
					return nil, err
				}
				answers[i] = p
			}
			return answers, nil
		}),
	}
}

// password is a login's password, for SSH and for sudo: the cluster file's,
// else what the person says.
func (d *Dialer) password(ctx context.Context, watch *stopwatch, user string) (string, error) {
	if d.opt.Password != "" {
		return d.opt.Password, nil
	}
	return d.secrets.get(ctx, watch, "Password of "+user+" (for SSH and sudo)")
}
