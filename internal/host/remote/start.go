package remote

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"multihead/internal/host/rpc"
)

// What the start script says. Each begins with a byte that no login message
// has.
const (
	needMark   = "\x01multihead-needed\n"   // stdout: send the binary
	stageMark  = "\x01multihead-sudo\n"     // stderr: sudo is about to be called
	promptMark = "\x01multihead-password\n" // stderr: sudo asks
)

// Exit codes of the start script.
const (
	exitNoExecDir = 78
	exitSudo      = 79
)

// sudoAsking is sudo that reads the password from standard input and says on
// standard error that it wants it.
const sudoAsking = `sudo -S -p "$(printf "\001multihead-password\n.")" --`

// startTimes is how many times the limit a host that let us log in gets on top of it: it
// lives, and at a load of 20 on two cores two of three hosts needed more than 5 s
// to begin.
const startTimes = 2

// uploadTimeout bounds the streaming of the binary: 15 MB over a slow line.
const uploadTimeout = 3 * time.Minute

// process is a shell that was started on a host, whatever the way there.
type process struct {
	stdin          io.WriteCloser
	stdout, stderr io.Reader
	wait           func() (code int, err error) // err: it ended without a code
	close          func()
}

// startScript is what the host's shell runs: the installed binary where it is
// the same build as ours, else ours, streamed into the first directory that
// lets programs run. It is one line, without single quotes, so that any login
// shell hands it on to sh.
func startScript(sudo, args, build string, size int64) string {
	run := func(binary, more string) string {
		s := binary + " rpc " + args + more
		if sudo != "" {
			s = `printf "\001multihead-sudo\n" >&2; ` + sudo + " " + s
		}
		return s
	}
	var b strings.Builder
	b.WriteString(`LC_ALL=C; export LC_ALL; b=` + InstallPath + `; if [ -x $b ]; then `)
	b.WriteString(run("$b", " --build "+build))
	b.WriteString(`; r=$?; case $r in 64|76|126|127) ;; *) exit $r;; esac; fi; `)
	if sudo != "" {
		b.WriteString(`printf "\001multihead-sudo\n" >&2; ` + sudo + ` true || exit ` + strconv.Itoa(exitSudo) + `; `)
	}
	b.WriteString(`umask 077; f=; trap "rm -f \"\$f\"" EXIT; trap "exit 1" HUP INT TERM; `)
	b.WriteString(`for d in /dev/shm /run /tmp /var/tmp "$HOME"; do f=$(mktemp "$d/.multihead.XXXXXXXXXX" 2>/dev/null) || continue; `)
	b.WriteString(`printf "#!/bin/sh\nexit 42\n" >"$f" && chmod 700 "$f" && "$f" 2>/dev/null; [ $? = 42 ] && break; rm -f "$f"; f=; done; `)
	b.WriteString(`[ -n "$f" ] || exit ` + strconv.Itoa(exitNoExecDir) + `; printf "\001multihead-needed\n"; `)
	fmt.Fprintf(&b, `head -c %d >"$f"; [ "$(wc -c <"$f")" -eq %d ] || exit 1; `, size, size)
	b.WriteString(run(`"$f"`, " --unlink"))
	return b.String()
}

// rpcArgs are the arguments of the remote half.
func (d *Dialer) rpcArgs(t Target) string {
	args := "--name " + quote(t.Name)
	if d.opt.ReadOnly {
		args += " --read-only"
	}
	return args
}

// quote makes one word of s inside the start script, which itself stands in
// single quotes: host names that need quoting are not host names.
func quote(s string) string {
	for _, r := range s {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", r) {
			return "invalid-name"
		}
	}
	return s
}

// startRemote starts the remote half through an SSH connection.
func (d *Dialer) startRemote(ctx context.Context, watch *stopwatch, e endpoint, t Target, client *ssh.Client, tm *Timing) (*rpc.Client, error) {
	fail := func(class Class, err error, hint string) error {
		out := &Error{Host: t.Name, Address: e.addr(), Class: class, During: watch.doing(), Limit: watch.told(), Err: err, Hint: hint}
		if errors.Is(context.Cause(ctx), errTimeLimit) {
			out.Class, out.Err, out.Hint = Timeout, errTimeLimit, "it let us log in and then did not go on: it is very busy, or its disk or its services hang"
		} else if ctx.Err() != nil {
			out.Class, out.Err, out.Hint = StartFailed, context.Cause(ctx), ""
		}
		return out
	}
	stop := context.AfterFunc(ctx, func() { _ = client.Close() })
	defer stop()
	begin := time.Now()
	s := &start{d: d, t: t, user: e.user, watch: watch, tm: tm}
	conn, err := s.run(ctx, func(script string) (*process, error) { return sshProcess(client, script) }, d.sudo(e.user))
	if err == nil {
		tm.Start = time.Since(begin)
		return conn, nil
	}
	if f, ok := errors.AsType[*startError](err); ok {
		return nil, fail(f.class, f.err, f.hint)
	}
	return nil, fail(StartFailed, err, "")
}

// sudo is what goes before a command that a login runs as root. Where there
// is a password to give, sudo may ask for it; it need not.
func (d *Dialer) sudo(user string) string {
	switch {
	case user == "root":
		return ""
	case d.opt.Password != "" || d.opt.AskSecret != nil:
		return sudoAsking
	}
	return "sudo -n --"
}

// sshProcess runs a script in a session of an SSH connection.
func sshProcess(client *ssh.Client, script string) (*process, error) {
	session, err := client.NewSession()
	if err != nil {
		return nil, err
	}
	stdin, err1 := session.StdinPipe()
	stdout, err2 := session.StdoutPipe()
	stderr, err3 := session.StderrPipe()
	if err := errors.Join(err1, err2, err3); err != nil {
		_ = session.Close()
		return nil, err
	}
	if err := session.Start("exec sh -c '" + script + "'"); err != nil {
		_ = session.Close()
		return nil, err
	}
	wait := func() (int, error) {
		err := session.Wait()
		if exit, ok := errors.AsType[*ssh.ExitError](err); ok {
			return exit.ExitStatus(), nil
		}
		return 0, err
	}
	return &process{stdin: stdin, stdout: stdout, stderr: stderr, wait: wait, close: func() { _ = client.Close() }}, nil
}

// startError is a start that failed.
type startError struct {
	class Class
	err   error
	hint  string
}

func (e *startError) Error() string { return e.err.Error() }
func (e *startError) Unwrap() error { return e.err }

// start is one attempt at starting the remote half.
type start struct {
	d     *Dialer
	t     Target
	user  string
	watch *stopwatch
	tm    *Timing
	p     *process

	mu     sync.Mutex
	said   []byte // standard error, marks taken out, its tail
	asked  int    // prompts since sudo was last called
	refuse error  // why no password was given
}

// run starts the script and talks to it until the remote half answers.
func (s *start) run(ctx context.Context, launch func(script string) (*process, error), sudo string) (*rpc.Client, error) {
	return s.converse(ctx, func() (*process, error) {
		return launch(startScript(sudo, s.d.rpcArgs(s.t), s.d.build, s.d.size))
	})
}

// converse starts a process and talks to it until the remote half answers.
func (s *start) converse(ctx context.Context, launch func() (*process, error)) (*rpc.Client, error) {
	s.watch.now("starting the remote half")
	s.watch.extend(startTimes)
	p, err := launch()
	if err != nil {
		return nil, err
	}
	s.p = p
	listened := make(chan struct{})
	go func() {
		defer close(listened)
		s.listen(ctx)
	}()
	r := bufio.NewReaderSize(p.stdout, 32<<10)
	for {
		mark, err := awaitMark(r)
		if err != nil {
			return nil, s.explain(listened, err)
		}
		if mark == needMark {
			if err := s.upload(); err != nil {
				return nil, s.explain(listened, err)
			}
			continue
		}
		return rpc.NewClient(ctx, s.t.Name, newStream(p, io.MultiReader(strings.NewReader(rpc.Magic), r)))
	}
}

// awaitMark skips what a login shell prints until the script asks for the
// binary or the remote half speaks.
func awaitMark(r *bufio.Reader) (string, error) {
	var seen []byte
	for {
		b, err := r.ReadByte()
		if err != nil {
			return "", err
		}
		seen = append(seen, b)
		for _, mark := range []string{needMark, rpc.Magic} {
			if bytes.HasSuffix(seen, []byte(mark)) {
				return mark, nil
			}
		}
		if len(seen) > 64<<10 {
			return "", errors.New("its login shell prints without end")
		}
	}
}

// listen reads standard error for as long as the process lives, and answers
// sudo's questions.
func (s *start) listen(ctx context.Context) {
	r := bufio.NewReader(s.p.stderr)
	for {
		line, err := r.ReadBytes('\n')
		switch {
		case bytes.HasSuffix(line, []byte(stageMark)):
			s.mu.Lock()
			s.asked = 0
			s.mu.Unlock()
		case bytes.HasSuffix(line, []byte(promptMark)):
			s.answer(ctx)
		default:
			// What follows a prompt's line on its own is the prompt's end.
			s.mu.Lock()
			s.said = append(s.said, bytes.TrimPrefix(line, []byte("."))...)
			if over := len(s.said) - 8<<10; over > 0 {
				s.said = s.said[over:]
			}
			s.mu.Unlock()
		}
		if err != nil {
			return
		}
	}
}

// answer gives sudo the password, once for each time that it is called: a
// second question means that it was wrong.
func (s *start) answer(ctx context.Context) {
	s.mu.Lock()
	s.asked++
	again := s.asked > 1
	s.mu.Unlock()
	password, err := "", error(nil)
	if again {
		err = errors.New("the password is wrong")
	} else {
		password, err = s.d.password(ctx, s.watch, s.user)
	}
	if err != nil {
		s.mu.Lock()
		s.refuse = err
		s.mu.Unlock()
		_ = s.p.stdin.Close() // sudo takes the end for giving up
		return
	}
	_, _ = io.WriteString(s.p.stdin, password+"\n")
}

// upload streams the binary. It has a time limit of its own.
func (s *start) upload() error {
	f, err := os.Open(s.d.opt.Binary)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	s.watch.pause()
	defer s.watch.resume()
	limit := time.AfterFunc(uploadTimeout, s.p.close)
	defer limit.Stop()
	var sent int64
	buf := make([]byte, 256<<10)
	for sent < s.d.size {
		n, rerr := f.Read(buf[:min(int64(len(buf)), s.d.size-sent)])
		if _, err := s.p.stdin.Write(buf[:n]); err != nil {
			return fmt.Errorf("sending the binary: %w", err)
		}
		sent += int64(n)
		if s.d.opt.Progress != nil {
			s.d.opt.Progress(s.t.Name, sent, s.d.size)
		}
		if rerr != nil && sent < s.d.size {
			return fmt.Errorf("reading our own binary: %w", rerr)
		}
	}
	s.tm.Sent += sent
	return nil
}

// explain says why the script ended without a remote half.
func (s *start) explain(listened <-chan struct{}, cause error) error {
	code, werr := s.p.wait()
	<-listened
	s.mu.Lock()
	defer s.mu.Unlock()
	said := strings.TrimSpace(string(s.said))
	e := &startError{class: StartFailed}
	last := said[strings.LastIndexByte(said, '\n')+1:]
	switch {
	case s.refuse != nil:
		e.class, e.err = SudoFailed, s.refuse
	case werr != nil:
		e.err = fmt.Errorf("%w (%w)", cause, werr)
	case code == exitNoExecDir:
		e.class, e.err = NoExecDir, errors.New("no directory there lets a program run")
	case code == exitSudo, strings.Contains(said, "sudo:"):
		e.class, e.err = SudoFailed, errors.New(last)
		if strings.Contains(said, "must have a tty") {
			e.hint = "its sudoers asks for a terminal: add `Defaults:" + s.user + " !requiretty`"
		}
	case code == 126 || strings.Contains(said, "Exec format error"), strings.Contains(said, "cannot execute"):
		e.err = fmt.Errorf("our binary does not run there: %s", last)
		e.hint = "the host may have another processor than this machine: install multihead for it in " + InstallPath
	default:
		e.err = fmt.Errorf("the remote half ended with code %d: %s", code, last)
	}
	return e
}

// stream is a started process as the connection of an rpc.Client.
type stream struct {
	io.Reader
	p      *process
	once   sync.Once
	exited chan struct{}
}

func newStream(p *process, r io.Reader) *stream {
	s := &stream{Reader: r, p: p, exited: make(chan struct{})}
	go func() {
		_, _ = p.wait()
		close(s.exited)
	}()
	return s
}

func (s *stream) Write(b []byte) (int, error) { return s.p.stdin.Write(b) }

// Close lets the remote half end by itself, so that its lock is free when
// this returns, but does not wait for one that is finishing a command or no
// longer answers.
func (s *stream) Close() error {
	s.once.Do(func() {
		_ = s.p.stdin.Close()
		select {
		case <-s.exited:
		case <-time.After(300 * time.Millisecond):
		}
		s.p.close()
	})
	return nil
}

// addressOf is a target's address as one, for messages.
func addressOf(t Target) string {
	if a, err := netip.ParseAddr(t.Address); err == nil {
		return a.String()
	}
	return t.Name
}
