package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"multihead/internal/hostlist"
)

// Count is a number or auto, which is 0.
type Count int

// Auto reports whether the number is left to multihead.
func (c Count) Auto() bool { return c == 0 }

func (c Count) String() string {
	if c == 0 {
		return "auto"
	}
	return strconv.Itoa(int(c))
}

// HostList is a list of hostnames, written as a hostlist, a list, or auto,
// which is nil.
type HostList []string

// Auto reports whether the hosts are left to multihead.
func (l HostList) Auto() bool { return len(l) == 0 }

func (l HostList) String() string {
	if len(l) == 0 {
		return "auto"
	}
	return hostlist.Compress(l)
}

// Items is a list that may also be written as one string with commas.
type Items []string

func (l Items) String() string { return strings.Join(l, ",") }

// PortList is ports and ranges of ports.
type PortList []PortRange

// PortRange is First to Last, both included, of one protocol.
type PortRange struct {
	First, Last int
	Protocol    string // tcp or udp
}

func (r PortRange) String() string {
	s := strconv.Itoa(r.First)
	if r.Last != r.First {
		s += "-" + strconv.Itoa(r.Last)
	}
	if r.Protocol != "tcp" {
		s += "/" + r.Protocol
	}
	return s
}

func (l PortList) String() string {
	s := make([]string, len(l))
	for i, r := range l {
		s[i] = r.String()
	}
	return strings.Join(s, ",")
}

// Seconds is a length of time, written as a number of seconds, or as 500ms,
// 5s, 2m, 1h.
type Seconds time.Duration

// Duration is s as the standard library has it.
func (s Seconds) Duration() time.Duration { return time.Duration(s) }

func (s Seconds) String() string { return fmtDuration(time.Duration(s), time.Second) }

// Millis is a length of time, written as a number of milliseconds, or as
// 500ms, 5s.
type Millis time.Duration

// Duration is m as the standard library has it.
func (m Millis) Duration() time.Duration { return time.Duration(m) }

func (m Millis) String() string { return fmtDuration(time.Duration(m), time.Millisecond) }

func fmtDuration(d, unit time.Duration) string {
	if d%unit == 0 {
		return strconv.FormatInt(int64(d/unit), 10)
	}
	return d.String()
}

// Section is a part of the file whose inside is not typed yet: true or false,
// or settings of any form.
type Section struct {
	Set     bool         // whether the file has it
	Enabled bool         // true, or settings whose enabled is not false
	value   func() *node // a function, so that fmt cannot print the secrets in it
}

// Rest collects the keys of a section beyond the typed ones, because the
// format leaves that section open.
type Rest map[string]string

func (r Rest) String() string { return fmt.Sprint(map[string]string(r)) }
