package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
)

// installScript appends the key on its standard input to the login's
// authorized_keys unless it is there.
const installScript = `umask 077; cd || exit 1; mkdir -p .ssh && touch .ssh/authorized_keys || exit 1; ` +
	`k=$(cat); grep -qxF "$k" .ssh/authorized_keys && exit 0; ` +
	`[ -z "$(tail -c 1 .ssh/authorized_keys)" ] || echo >>.ssh/authorized_keys; ` +
	`printf "%s\n" "$k" >>.ssh/authorized_keys || exit 1; ` +
	`if command -v restorecon >/dev/null 2>&1; then restorecon -R .ssh; fi`

// KeyResult is what InstallKeys did on one host.
type KeyResult struct {
	Target      Target
	Installed   bool   // false: our key was taken before already
	Fingerprint string // of the key that is there now
	Err         error
}

// InstallKeys makes our key a login of every target, so that no password is
// needed from then on: it logs in with the password, adds the first of our
// public keys to authorized_keys, and proves that the key is taken. Hosts that
// take the key already are left as they are.
func (d *Dialer) InstallKeys(ctx context.Context, targets []Target) []KeyResult {
	results := make([]KeyResult, len(targets))
	var wg sync.WaitGroup
	for i, t := range targets {
		wg.Go(func() {
			results[i] = d.installKey(ctx, t)
			results[i].Target = t
		})
	}
	wg.Wait()
	return results
}

func (d *Dialer) installKey(ctx context.Context, t Target) KeyResult {
	e, err := d.config.resolve(t)
	if err != nil {
		return KeyResult{Err: &Error{Host: t.Name, Address: e.addr(), Class: BadSettings, Err: err}}
	}
	keyOnly := e
	keyOnly.keyOnly = true
	c, err := d.loginOnce(ctx, keyOnly)
	if err == nil {
		_ = c.Close()
		return KeyResult{}
	}
	if ClassOf(err) != AuthFailed {
		return KeyResult{Err: err}
	}
	key, err := d.ourKey(ctx, e)
	if err != nil {
		return KeyResult{Err: &Error{Host: t.Name, Address: e.addr(), Class: BadSettings, Err: err, Hint: "make one with: ssh-keygen -t ed25519"}}
	}
	r := KeyResult{Fingerprint: ssh.FingerprintSHA256(key)}
	if c, err = d.loginOnce(ctx, e); err != nil {
		r.Err = err
		return r
	}
	err = appendKey(c, key)
	_ = c.Close()
	if err != nil {
		r.Err = &Error{Host: t.Name, Address: e.addr(), Class: StartFailed, Err: fmt.Errorf("installing the key: %w", err)}
		return r
	}
	if c, err = d.loginOnce(ctx, keyOnly); err != nil {
		r.Err = fmt.Errorf("the key was installed and is not taken: %w", err)
		return r
	}
	_ = c.Close()
	r.Installed = true
	return r
}

// loginOnce logs in within the time limit.
func (d *Dialer) loginOnce(ctx context.Context, e endpoint) (*ssh.Client, error) {
	ctx, watch := newStopwatch(ctx, d.opt.Timeout)
	defer watch.stop()
	return d.login(ctx, watch, e, &Timing{})
}

// ourKey is the public key to install: the first that would be tried.
func (d *Dialer) ourKey(ctx context.Context, e endpoint) (ssh.PublicKey, error) {
	_, watch := newStopwatch(ctx, d.opt.Timeout)
	defer watch.stop()
	signers, notes := d.keys.signers(ctx, watch, e)
	if len(signers) == 0 {
		return nil, errors.Join(append([]error{errors.New("there is no key of ours to install")}, notes...)...)
	}
	return signers[0].PublicKey(), nil
}

func appendKey(c *ssh.Client, key ssh.PublicKey) error {
	session, err := c.NewSession()
	if err != nil {
		return err
	}
	defer func() { _ = session.Close() }()
	var stderr bytes.Buffer
	session.Stderr = &stderr
	session.Stdout = io.Discard
	session.Stdin = strings.NewReader(strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) + " multihead\n")
	if err := session.Run("exec sh -c '" + installScript + "'"); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return nil
}
