package galera

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"multihead/internal/host"
)

const (
	// unheard is how long a node asks for data and nobody sends any before that
	// counts as stuck. A donor that is free starts to send within a second or
	// two; with a donor's own pause of 10 s between its two transfers, a minute
	// leaves room for a machine under load.
	unheard = time.Minute
	// unheardEvery is the pause between two looks.
	unheardEvery = 2 * time.Second
	// patience is how long a daemon that nobody sends data to may take to stop
	// before it is killed: it holds nothing that is not elsewhere, and waits for
	// a transfer that does not come.
	patience = 20 * time.Second
)

// transferPort is where a joiner's script takes data: wsrep_sst_receive_address
// has no other port unless somebody writes one.
const transferPort = 4444

// errNoDonor is a join that nobody sends data to.
var errNoDonor = errors.New("no donor sends data")

// asks says whether a node waits for data that nobody sends: its script listens
// and nobody is connected. The kernel's own tables say so without a process
// being started on a host that may be busy.
func asks(ctx context.Context, r host.Reader) (bool, error) {
	listens, connected, err := transfer(ctx, r)
	return listens && !connected, err
}

// transfer says whether a node's script listens for data, and whether somebody
// is connected.
func transfer(ctx context.Context, r host.Reader) (listens, connected bool, err error) {
	for _, name := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		raw, err := r.ReadFile(ctx, name)
		if errors.Is(err, fs.ErrNotExist) && path.Base(name) == "tcp6" {
			continue // a kernel without IPv6
		}
		if err != nil {
			return false, false, err
		}
		l, c := portState(string(raw), transferPort)
		listens, connected = listens || l, connected || c
	}
	return listens, connected, nil
}

// portState reads /proc/net/tcp (proc_pid_net(5)): whether somebody listens on a
// local port, and whether a connection to it is open or being closed.
func portState(table string, port int) (listens, connected bool) {
	const established, timeWait, listen = "01", "06", "0A"
	want := fmt.Sprintf(":%04X", port)
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 4 || !strings.HasSuffix(f[1], want) {
			continue
		}
		switch f[3] {
		case listen:
			listens = true
		case timeWait:
		default:
			connected = true
		}
	}
	return listens, connected
}

// heard runs start and ends it where nobody sends the node data for too long.
// It returns errNoDonor then, and what start returned otherwise.
func heard(ctx context.Context, h host.Host, every, limit time.Duration, start func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- start(ctx) }()
	tick := time.NewTicker(every)
	defer tick.Stop()
	var since time.Time // since when it asks in vain
	for {
		select {
		case err := <-ended:
			return err
		case <-tick.C:
		}
		waits, err := asks(ctx, h)
		switch {
		case err != nil || !waits:
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		case time.Since(since) > limit:
			// The end of the daemon is what ends the start.
			err := abandon(context.WithoutCancel(ctx), h)
			cancel()
			if err := <-ended; err == nil {
				// It came up just then, and was stopped all the same.
				return errNoDonor
			}
			return errors.Join(errNoDonor, err)
		}
	}
}

// abandon stops a daemon that waits for data in vain, with force where asking
// is of no use.
func abandon(ctx context.Context, h host.Host) error {
	soft, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, err := h.Run(soft, host.Command("systemctl", "stop", unit)); err == nil {
		return nil
	}
	if _, err := h.Run(ctx, host.Command("systemctl", "kill", "--signal=SIGKILL", unit)); err != nil {
		return err
	}
	return halt(ctx, h)
}
