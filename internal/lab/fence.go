package lab

import (
	"bufio"
	"context"
	"crypto/subtle"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// FencePort is where a lab's power device listens, at Outside. A device in real
// life is a host's management controller or a power strip; the lab has one for
// all hosts.
const FencePort = 6230

// fenceAgent is the fence agent that hosts of a lab with fencing have.
const fenceAgent = "fence_lab"

//go:embed fence_lab.bash
var fenceScript string

// FenceMode is how the power device treats a host.
type FenceMode string

// The modes. A device that lies says that it has switched off, and does not; and
// says that a host is on whatever it is.
const (
	FenceOK   FenceMode = "ok"
	FenceLie  FenceMode = "lie"
	FenceHang FenceMode = "hang"
	FenceFail FenceMode = "fail"
)

// FenceModes lists them in the order help shows them.
func FenceModes() []string {
	return []string{string(FenceOK), string(FenceLie), string(FenceHang), string(FenceFail)}
}

func (l *Lab) fenceModesPath() string { return l.path("fence.json") }

func (l *Lab) fenceModes() (map[string]FenceMode, error) {
	modes := map[string]FenceMode{}
	data, err := os.ReadFile(l.fenceModesPath())
	if errors.Is(err, fs.ErrNotExist) {
		return modes, nil
	}
	if err != nil {
		return nil, err
	}
	return modes, json.Unmarshal(data, &modes)
}

// SetFence tells the power device how to treat hosts, all of them where none is
// named.
func (l *Lab) SetFence(ctx context.Context, mode FenceMode, hosts ...string) error {
	if l.Spec.FenceTool == "" {
		return fmt.Errorf("the lab %q has no fencing (multihead lab up --fencing)", l.Spec.Name)
	}
	if !slices.Contains(FenceModes(), string(mode)) {
		return fmt.Errorf("%q: use one of %s", mode, strings.Join(FenceModes(), ", "))
	}
	picked, err := l.pick(hosts)
	if err != nil {
		return err
	}
	return l.locked(ctx, func() error {
		modes, err := l.fenceModes()
		if err != nil {
			return err
		}
		for _, h := range picked {
			modes[h.Name] = mode
		}
		return writeJSON(l.fenceModesPath(), modes)
	})
}

// ensureFenceDevice starts the power device, unless it answers. It is a process
// of its own in the lab's network, so that it outlives the tool, and goes with
// the lab.
func (l *Lab) ensureFenceDevice(ctx context.Context) error {
	if l.Spec.FenceTool == "" || l.fenceAnswers(ctx) {
		return nil
	}
	log, err := os.OpenFile(l.path("fence.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := command(context.WithoutCancel(ctx), "nsenter", "--net="+l.netnsPath(), l.Spec.FenceTool, "lab", "fence-device", "--name", l.Spec.Name)
	cmd.Env = append(cmd.Env, DirVariable+"="+l.base)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	var ended error
	off := make(chan error, 1)
	go func() { off <- cmd.Wait() }() // if this process lives that long
	limited, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	err = until(limited, 50*time.Millisecond, "waiting for the power device", func() bool {
		select {
		case ended = <-off:
			return true
		default:
			return l.fenceAnswers(limited)
		}
	})
	if err != nil || ended != nil {
		return fmt.Errorf("the power device: %w%s", errors.Join(err, ended), fileTail(l.path("fence.log"), 4))
	}
	return nil
}

func (l *Lab) fenceAnswers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := l.Dial(ctx, "tcp", net.JoinHostPort(Outside, strconv.Itoa(FencePort)))
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// ServeFence is the power device: it answers until ctx ends. A request is one
// line, "PASSWORD ACTION HOST"; the answer is ON, OFF or DONE, or why not.
func (l *Lab) ServeFence(ctx context.Context) error {
	secrets, err := l.Secrets()
	if err != nil {
		return err
	}
	password := secrets[fenceSecret]
	if password == "" {
		return fmt.Errorf("%s has no %s", l.SecretsPath(), fenceSecret)
	}
	ln, err := l.Listen(ctx, "tcp", net.JoinHostPort(Outside, strconv.Itoa(FencePort)))
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	var open sync.WaitGroup
	defer open.Wait()
	for {
		conn, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		open.Go(func() { l.answerFence(ctx, conn, password) })
	}
}

// fenceLimit bounds one request.
const fenceLimit = time.Minute

func (l *Lab) answerFence(ctx context.Context, conn net.Conn, password string) {
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, fenceLimit)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	line, err := bufio.NewReader(&onlyFirst{conn, 4096}).ReadString('\n')
	if err != nil {
		return
	}
	words := strings.Fields(line)
	if len(words) != 3 || subtle.ConstantTimeCompare([]byte(words[0]), []byte(password)) != 1 {
		fmt.Fprintln(conn, "Login incorrect")
		return
	}
	// What nobody waits for any more is not done: the lab may be busy for so long
	// that the answer would come to a host that has booted since.
	gone, hungUp := context.WithCancel(ctx)
	defer hungUp()
	go func() {
		_, _ = conn.Read(make([]byte, 1))
		hungUp()
	}()
	reply := l.fence(gone, words[1], words[2])
	say(l.progress, words[2], words[1]+": "+reply)
	if reply == "" { // hangs, until the asker gives up
		<-gone.Done()
		return
	}
	fmt.Fprintln(conn, reply)
}

// onlyFirst reads the first bytes of a connection.
type onlyFirst struct {
	net.Conn
	left int
}

func (o *onlyFirst) Read(p []byte) (int, error) {
	if o.left <= 0 {
		return 0, errors.New("too long")
	}
	n, err := o.Conn.Read(p[:min(len(p), o.left)])
	o.left -= n
	return n, err
}

// fence does what is asked for, in the way the host's mode says.
func (l *Lab) fence(ctx context.Context, action, host string) string {
	now, err := Open(l.Spec.Name) // hosts may have been added
	if err != nil {
		return err.Error()
	}
	h, err := now.Host(host)
	if err != nil {
		return err.Error()
	}
	modes, err := l.fenceModes()
	if err != nil {
		return err.Error()
	}
	switch modes[host] {
	case FenceHang:
		return ""
	case FenceFail:
		return "Unable to obtain correct plug status or plug is not available"
	case FenceLie:
		if action == "status" {
			return "ON"
		}
		return "DONE"
	}
	switch action {
	case "status":
		var state State
		if state, err = h.State(); err == nil && state == Off {
			return "OFF"
		} else if err == nil {
			return "ON"
		}
	case "off":
		err = now.PowerOff(ctx, host)
	case "on":
		err = now.PowerOn(ctx, host)
	case "reboot":
		if err = now.PowerOff(ctx, host); err == nil {
			err = now.PowerOn(ctx, host)
		}
	default:
		return "no such action: " + action
	}
	if err != nil {
		return strings.ReplaceAll(err.Error(), "\n", " ")
	}
	return "DONE"
}
