package galera

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
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

func clip(s string) string {
	if len(s) > 40 {
		s = s[:40] + "…"
	}
	return s
}
