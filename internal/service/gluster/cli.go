package gluster

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"strings"
	"time"

	"multihead/internal/host"
)

// reply is what the gluster command prints with --xml, whatever was asked.
type reply struct {
	XMLName xml.Name `xml:"cliOutput"`
	Ret     int      `xml:"opRet"`
	Errno   int      `xml:"opErrno"`
	Errstr  string   `xml:"opErrstr"`
	Output  string   `xml:"output"`
	Bricks  []struct {
		Host    string   `xml:"hostname"`
		Path    string   `xml:"path"`
		Status  int      `xml:"status"`
		Clients []string `xml:"clientsStatus>client>hostname"`
	} `xml:"volStatus>volumes>volume>node"`
	Heal []struct {
		Name       string   `xml:"name"`
		Status     string   `xml:"status"`
		Total      string   `xml:"totalNumberOfEntries"`
		Pending    string   `xml:"numberOfEntriesInHealPending"`
		SplitBrain string   `xml:"numberOfEntriesInSplitBrain"`
		Possibly   string   `xml:"numberOfEntriesPossiblyHealing"` // locked by who heals it, for as long as that copies
		Files      []string `xml:"file"`
	} `xml:"healInfo>bricks>brick"`
}

// parseReply reads one XML document. A reply that says it failed is an error
// with its words.
func parseReply(data string) (reply, error) {
	var r reply
	if err := xml.Unmarshal([]byte(data), &r); err != nil {
		return r, fmt.Errorf("gluster printed no XML: %w", err)
	}
	if r.Ret != 0 {
		return r, &cliError{Errno: r.Errno, Said: strings.TrimSpace(r.Errstr + " " + r.Output)}
	}
	return r, nil
}

// cliError is a command that glusterd refused.
type cliError struct {
	Errno int
	Said  string
}

func (e *cliError) Error() string {
	if e.Said == "" {
		return fmt.Sprintf("gluster: error %d", e.Errno)
	}
	return "gluster: " + e.Said
}

// busy says whether another command held the cluster's lock, or a peer is
// still being introduced: both pass by themselves.
func busy(err error) bool {
	var e *cliError
	if !errors.As(err, &e) {
		return false
	}
	for _, words := range []string{"Another transaction is in progress", "Another transaction could be in progress",
		"Locking failed", "is not in 'Peer in Cluster' state"} {
		if strings.Contains(e.Said, words) {
			return true
		}
	}
	return false
}

// query is the command line of a question or a change. --mode=script answers
// its own questions with yes, which nobody is there to do.
func query(args ...string) []string {
	return append([]string{"gluster", "--mode=script", "--xml"}, args...)
}

// ask puts a question to glusterd on one head. The command blocks while
// glusterd is stuck, so the context needs a deadline.
func ask(ctx context.Context, r host.Reader, args ...string) (reply, error) {
	out, err := r.Query(ctx, query(args...)...)
	return explain(out, err)
}

// explain prefers what glusterd said to the exit code that went with it.
func explain(out string, err error) (reply, error) {
	var exit *host.ExitError
	if errors.As(err, &exit) {
		if r, perr := parseReply(exit.Stdout); perr != nil {
			var said *cliError
			if errors.As(perr, &said) {
				return r, perr
			}
		}
	}
	if err != nil {
		return reply{}, err
	}
	return parseReply(out)
}

const (
	// changeLimit bounds one changing command. glusterd itself gives up on a
	// silent peer after 120 s.
	changeLimit = 130 * time.Second
	// busyLimit bounds how long the lock of another command is awaited.
	busyLimit = 60 * time.Second
)

// change runs a command that changes the pool or a volume. One runs at a time
// in the whole cluster; a second is refused by glusterd at once and tried
// again here until the first has ended.
func change(ctx context.Context, h host.Host, args ...string) (reply, error) {
	deadline := time.Now().Add(busyLimit)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		one, cancel := context.WithTimeout(ctx, changeLimit)
		out, err := h.Run(one, host.Command(query(args...)...))
		cancel()
		r, err := explain(out, err)
		if err == nil || !busy(err) || time.Now().After(deadline) {
			return r, err
		}
		select {
		case <-ctx.Done():
			return r, errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}
