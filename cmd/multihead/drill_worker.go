package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"multihead/internal/drill/clients"
	"multihead/internal/host"
)

// newDrillWorkerCmd is the client that a drill runs outside the heads. Nobody
// types it.
func newDrillWorkerCmd() *cobra.Command {
	var socket string
	cmd := &cobra.Command{
		Use:    "drill-worker",
		Short:  "Work on a cluster as a client, as told on a connection",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if socket == "" {
				return clients.Serve(cmd.Context(), stdio{})
			}
			conn, err := acceptOne(cmd.Context(), socket)
			if err != nil {
				return err
			}
			return clients.Serve(cmd.Context(), conn)
		},
	}
	cmd.Flags().StringVar(&socket, "socket", "", "listen on this unix `socket` for the one connection")
	return cmd
}

// callLimit is how long a worker waits for whoever started it.
const callLimit = 20 * time.Second

// acceptOne waits for the one connection. The directory of the socket is root's
// alone.
func acceptOne(ctx context.Context, path string) (net.Conn, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	defer ln.Close() // removes the socket
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, err
	}
	if err := ln.(*net.UnixListener).SetDeadline(time.Now().Add(callLimit)); err != nil {
		return nil, err
	}
	return ln.Accept()
}

// worker starts a worker on a host, or here, and returns its connection. On a
// host it is a unit of its own, so that it does not depend on our SSH session's
// other half, with a limit in time and memory.
func (d *drillSession) worker(ctx context.Context, name string) (io.ReadWriteCloser, time.Duration, error) {
	if name == "" {
		conn, err := localWorker()
		return conn, 0, err
	}
	spec, ok := d.spec(name)
	if !ok {
		return nil, 0, fmt.Errorf("the cluster file has no host %q", name)
	}
	conn, err := d.sess.dial.Connect(ctx, target(spec))
	if err != nil {
		return nil, 0, err
	}
	fail := func(err error) (io.ReadWriteCloser, time.Duration, error) {
		_ = conn.Close()
		return nil, 0, err
	}
	ahead, _, err := conn.Clock(ctx)
	if err != nil {
		return fail(err)
	}
	id := strings.ToLower(rand.Text()[:10])
	socket := filepath.Join("/run", "multihead-drill-"+id+".sock")
	start := host.Command("systemd-run", "--quiet", "--collect", "--unit=multihead-drill-"+id,
		"--property=RuntimeMaxSec="+fmt.Sprint(int(clients.Longest.Seconds())), "--property=MemoryMax=512M", "--property=TimeoutStopSec=5",
		fmt.Sprintf("/proc/%d/exe", conn.Hello().PID), "drill-worker", "--socket", socket)
	if _, err := conn.Run(ctx, start); err != nil {
		return fail(err)
	}
	stream, err := dialSoon(ctx, conn, socket)
	if err != nil {
		return fail(fmt.Errorf("%s: the worker did not answer: %w", name, err))
	}
	return &workerConn{stream, conn}, ahead, nil
}

// dialSoon connects to a socket that is about to be there.
func dialSoon(ctx context.Context, h host.Reader, socket string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	for {
		c, err := h.Dial(ctx, "unix", socket)
		if err == nil {
			return c, nil
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(err, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// workerConn is a worker's stream and the connection to its host.
type workerConn struct {
	net.Conn
	host io.Closer
}

func (w *workerConn) Close() error { return errors.Join(w.Conn.Close(), w.host.Close()) }

// localWorker is a worker on this machine, a child of ours.
func localWorker() (io.ReadWriteCloser, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	// It ends when its standard input does, and not before: a run that is
	// interrupted still lets it finish.
	cmd := exec.Command(exe, "drill-worker") //nolint:noctx // see above
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &child{in, out, cmd}, nil
}

type child struct {
	io.WriteCloser
	io.Reader
	cmd *exec.Cmd
}

// Close ends the worker and waits for it.
func (c *child) Close() error {
	_ = c.WriteCloser.Close()
	_, _ = io.Copy(io.Discard, c.Reader)
	return c.cmd.Wait()
}
