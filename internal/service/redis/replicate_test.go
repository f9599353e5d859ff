package redis

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/host/hosttest"
	"multihead/internal/service"
)

// daemon is as much of a Redis as replicate needs.
type daemon struct {
	master  string // whom it copies; empty for a master
	keys    int
	written string // the master that its file names
	asked   []string
}

func (d *daemon) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		v, err := readReply(r, 0)
		if err != nil {
			return
		}
		cmd, _ := words(v)
		d.asked = append(d.asked, strings.Join(cmd, " "))
		answer := "+OK\r\n"
		switch cmd[0] {
		case "INFO":
			text := "role:master\r\n"
			if d.master != "" {
				h, p := splitAddr(d.master)
				text = fmt.Sprintf("role:slave\r\nmaster_host:%s\r\nmaster_port:%s\r\n", h, p)
			}
			if d.keys > 0 {
				text += fmt.Sprintf("db0:keys=%d,expires=0\r\n", d.keys)
			}
			answer = fmt.Sprintf("$%d\r\n%s\r\n", len(text), text)
		case "DBSIZE":
			answer = fmt.Sprintf(":%d\r\n", d.keys)
		case "REPLICAOF":
			if d.master = joinAddr(cmd[1], cmd[2]); cmd[1] == "NO" {
				d.master = ""
			}
		case "CONFIG":
			d.written = d.master
		}
		if _, err := c.Write([]byte(answer)); err != nil {
			return
		}
	}
}

func (d *daemon) machine(at instance) *hosttest.Machine {
	m := hosttest.New(at.Host)
	m.OnDial("tcp", at.local(), func(context.Context) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go d.serve(theirs)
		return ours, nil
	})
	return m.OnRun("systemctl stop", func(host.Cmd) (string, error) { return "", nil })
}

func TestOnlyWhatThePlanStartedIsStoppedOnTheWayBack(t *testing.T) {
	const master, other, third = "192.0.2.11:6379", "192.0.2.13:6379", "192.0.2.14:6379"
	for _, tt := range []struct {
		name      string
		before    daemon
		started   bool
		meanwhile func(*daemon)
		after     string // whom it copies on the way back's end
		stopped   bool
		says      string // a piece of the error of the way back
	}{
		{name: "a replica of another master copies that one again", before: daemon{master: other, keys: 3}, after: other},
		{name: "the same, started by the plan", before: daemon{master: other, keys: 3}, started: true, after: other, stopped: true},
		{name: "an empty server that the plan started", started: true, meanwhile: func(d *daemon) { d.keys = 5 }, after: master, stopped: true},
		{name: "an empty server that ran before, and copied nothing", after: ""},
		{name: "an empty server that ran before, and copied keys", meanwhile: func(d *daemon) { d.keys = 5 }, after: master, says: "stays a replica"},
		{name: "the sentinels made it the master meanwhile", before: daemon{master: other, keys: 3}, meanwhile: func(d *daemon) { d.master = "" }, after: ""},
		{name: "the sentinels gave it another master meanwhile", before: daemon{master: other, keys: 3}, meanwhile: func(d *daemon) { d.master = third }, after: third},
	} {
		t.Run(tt.name, func(t *testing.T) {
			at := lab(2).heads[1].servers[0].at
			d := tt.before
			d.written = d.master
			m := d.machine(at)
			undo, err := replicate(at, master, "server1:6379", tt.started, config.NewSecret("pw")).Do(t.Context(), m)
			if err != nil || undo == nil || d.master != master || d.written != master {
				t.Fatalf("copies %q, written %q, %v", d.master, d.written, err)
			}
			if tt.meanwhile != nil {
				tt.meanwhile(&d)
				d.written = d.master
			}
			_, err = undo.Do(t.Context(), m)
			if (err != nil) != (tt.says != "") || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("the way back says %v", err)
			}
			if d.master != tt.after || d.written != tt.after {
				t.Errorf("it copies %q and has written down %q, want %q", d.master, d.written, tt.after)
			}
			if stopped := len(m.Changes()) > 0; stopped != tt.stopped {
				t.Errorf("stopped %v: %v", stopped, m.Changes())
			}
		})
	}
}

func TestAServerThatGotKeysMeanwhileIsNoReplica(t *testing.T) {
	at := lab(2).heads[1].servers[0].at
	d := daemon{keys: 0}
	m := d.machine(at)
	// INFO of before the write, DBSIZE of after it.
	m.OnDial("tcp", at.local(), func(context.Context) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			r := bufio.NewReader(theirs)
			for _, answer := range []string{"+OK\r\n", "$13\r\nrole:master\r\n\r\n", "+OK\r\n", ":1\r\n", "+OK\r\n"} {
				v, err := readReply(r, 0)
				if err != nil {
					return
				}
				cmd, _ := words(v)
				d.asked = append(d.asked, cmd[0])
				_, _ = theirs.Write([]byte(answer))
			}
		}()
		return ours, nil
	})
	_, err := replicate(at, "192.0.2.11:6379", "server1:6379", false, config.NewSecret("pw")).Do(t.Context(), m)
	if err == nil || !strings.Contains(err.Error(), "has got keys") || slices.Contains(d.asked, "REPLICAOF") {
		t.Errorf("%v, asked %v", err, d.asked)
	}
}

func TestAPlanForOneHostLeavesTheOthersReplicasAlone(t *testing.T) {
	s := lab(2)
	s.alone(1, 5, true)
	s.alone(2, 0, true)
	ph, err := s.Plan(service.Intent{Mode: service.Auto, Nodes: []string{"server1"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids(ph) {
		if strings.HasPrefix(id, "server2:") {
			t.Errorf("step %s", id)
		}
	}
}
