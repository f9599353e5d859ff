package galera

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"

	"multihead/internal/host"
)

// saved is grastate.dat: what a node knew of its cluster when it stopped.
type saved struct {
	uuid  string // the cluster's identity; empty where it never was part of one
	seqno int64  // how far its data goes; -1 while it runs and after a crash
	safe  bool   // it was the last one to stop, so the cluster may start from it
}

const noUUID = "00000000-0000-0000-0000-000000000000"

var uuidForm = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// parseSaved reads grastate.dat. A file that does not say what it has to say
// is an error, never an empty state: an empty state would mean "no data".
func parseSaved(b []byte) (saved, error) {
	s := saved{seqno: -1}
	var haveUUID, haveSeqno bool
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			return saved{}, fmt.Errorf("grastate.dat: no key in %q", clip(line))
		}
		value = strings.TrimSpace(value)
		var err error
		switch strings.TrimSpace(key) {
		case "uuid":
			value = strings.ToLower(value)
			if !uuidForm.MatchString(value) {
				return saved{}, fmt.Errorf("grastate.dat: uuid %q is none", clip(value))
			}
			haveUUID = true
			if s.uuid = value; value == noUUID {
				s.uuid = ""
			}
		case "seqno":
			haveSeqno = true
			if s.seqno, err = strconv.ParseInt(value, 10, 64); err != nil || s.seqno < -1 {
				return saved{}, fmt.Errorf("grastate.dat: seqno %q is none", clip(value))
			}
		case "safe_to_bootstrap":
			n, err := strconv.Atoi(value)
			if err != nil {
				return saved{}, fmt.Errorf("grastate.dat: safe_to_bootstrap %q is no number", clip(value))
			}
			s.safe = n == 1
		}
	}
	if !haveUUID || !haveSeqno {
		return saved{}, errors.New("grastate.dat: uuid or seqno is missing")
	}
	return s, nil
}

var safeLine = regexp.MustCompile(`(?m)^safe_to_bootstrap:.*$`)

// markSafe returns the content of grastate.dat with the flag set that lets the
// daemon start the cluster from this node, and everything else as it is.
func markSafe(b []byte) []byte {
	if safeLine.Match(b) {
		return safeLine.ReplaceAll(b, []byte("safe_to_bootstrap: 1"))
	}
	return append(bytes.TrimRight(b, "\n"), "\nsafe_to_bootstrap: 1\n"...)
}

var (
	uuidLine  = regexp.MustCompile(`(?m)^uuid:.*$`)
	seqnoLine = regexp.MustCompile(`(?m)^seqno:.*$`)
)

// markPosition returns the content of grastate.dat with this identity and
// position, and everything else as it is: what an orderly stop leaves.
func markPosition(b []byte, uuid string, seqno int64) []byte {
	b = foundLine.ReplaceAll(b, nil)
	b = uuidLine.ReplaceAll(b, []byte("uuid:    "+uuid))
	return seqnoLine.ReplaceAll(b, []byte("seqno:   "+strconv.FormatInt(seqno, 10)))
}

// rewrite replaces grastate.dat, mode and owner kept.
func rewrite(ctx context.Context, h host.Host, dataDir string, change func([]byte) []byte) error {
	name := path.Join(dataDir, "grastate.dat")
	info, err := h.Stat(ctx, name)
	if err != nil {
		return err
	}
	old, err := h.ReadFile(ctx, name)
	if err != nil {
		return err
	}
	marked := change(old)
	if bytes.Equal(old, marked) {
		return nil
	}
	return h.WriteFile(ctx, name, marked, host.Attr{Mode: info.Mode.Perm(), Owner: info.Owner, Group: info.Group})
}

func clip(s string) string {
	if len(s) > 40 {
		s = s[:40] + "…"
	}
	return s
}
