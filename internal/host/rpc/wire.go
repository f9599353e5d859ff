// Package rpc carries host.Host over a byte stream: Serve is the half that
// runs on the machine, Client the half that the tool holds.
//
// The server speaks first: a magic string, so that whatever a login shell
// printed before is skipped, and a Hello. After that the stream is a yamux
// session on which the client opens one stream per call: a request header, a
// raw payload, and back a response header and a raw payload. A Dial's stream
// turns into a pipe to the socket.
package rpc

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os/exec"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/yamux"

	"multihead/internal/host"
)

// Protocol is the version of what is spoken here. Halves of different
// versions do not talk.
const Protocol = 1

// Magic begins what the server says.
const Magic = "\x00\x01multihead-rpc\x02"

// maxHeader bounds one header, in bytes. The longest is the list of a large
// directory.
const maxHeader = 16 << 20

// Hello is what the server says of itself.
type Hello struct {
	Protocol int       `json:"protocol"`
	Version  string    `json:"version"`
	Build    string    `json:"build"` // what BuildID says of the server's binary
	PID      int       `json:"pid"`
	UID      int       `json:"uid"`
	Hostname string    `json:"hostname"` // what the machine calls itself
	ReadOnly bool      `json:"read_only"`
	Time     time.Time `json:"time"`
	// Addresses are the machine's own, without loopback.
	Addresses []netip.Addr `json:"addresses"`
}

// The operations.
const (
	opAsk     = "ask"
	opRun     = "run"
	opRead    = "read"
	opStat    = "stat"
	opList    = "list"
	opDial    = "dial"
	opWrite   = "write"
	opMkdir   = "mkdir"
	opAttr    = "attr"
	opRemove  = "remove"
	opRename  = "rename"
	opSymlink = "symlink"
	opLock    = "lock"
	opUnlock  = "unlock"
	opHolder  = "holder"
	opClock   = "clock"
)

// changes says whether an operation changes the machine. Those that do are
// refused by a server that only looks, and are finished when the connection
// is lost in the middle. What is not known is taken to change.
func changes(op string) bool {
	switch op {
	case opAsk, opRead, opStat, opList, opDial, opHolder, opClock:
		return false
	}
	return true
}

// text is a string that survives JSON whatever its bytes are: file names need
// not be UTF-8, and old Korean ones are not.
type text string

func (t text) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(t)) {
		return json.Marshal(string(t))
	}
	return json.Marshal(map[string]string{"b64": base64.StdEncoding.EncodeToString([]byte(t))})
}

func (t *text) UnmarshalJSON(data []byte) error {
	var s string
	if err := json.Unmarshal(data, &s); err == nil {
		*t = text(s)
		return nil
	}
	var raw struct {
		B64 []byte `json:"b64"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	*t = text(raw.B64)
	return nil
}

func texts(in []string) []text {
	out := make([]text, len(in))
	for i, s := range in {
		out[i] = text(s)
	}
	return out
}

func plain(in []text) []string {
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = string(s)
	}
	return out
}

// request is the header of a call. Size bytes of payload follow: standard
// input, or a file's content.
type request struct {
	Op      string      `json:"op"`
	Argv    []text      `json:"argv,omitempty"`
	Env     []text      `json:"env,omitempty"`
	Dir     text        `json:"dir,omitempty"`
	Stdin   bool        `json:"stdin,omitempty"` // the payload is standard input, be it empty
	Path    text        `json:"path,omitempty"`
	To      text        `json:"to,omitempty"` // rename's new path, symlink's target
	Attr    *attr       `json:"attr,omitempty"`
	Network string      `json:"network,omitempty"`
	Address string      `json:"address,omitempty"`
	Owner   *host.Owner `json:"owner,omitempty"`
	Timeout int64       `json:"timeout_ms"` // what is left of the caller's time: clocks differ, so no moment
	Size    int         `json:"size,omitempty"`
}

// response is the header of an answer. Size bytes of payload follow.
type response struct {
	Error  *failure          `json:"error,omitempty"`
	Info   *info             `json:"info,omitempty"`
	List   []info            `json:"list,omitempty"`
	Locked *host.LockedError `json:"locked,omitempty"`
	Time   int64             `json:"time,omitempty"` // Unix nanoseconds
	Size   int               `json:"size,omitempty"`
}

type attr struct {
	Mode    fs.FileMode `json:"mode,omitempty"`
	Owner   string      `json:"owner,omitempty"`
	Group   string      `json:"group,omitempty"`
	ModTime time.Time   `json:"mtime,omitzero"`
}

type info struct {
	Name    text        `json:"name"`
	Mode    fs.FileMode `json:"mode"`
	Size    int64       `json:"size"`
	ModTime time.Time   `json:"mtime"`
	Owner   text        `json:"owner"`
	Group   text        `json:"group"`
	Target  text        `json:"target,omitempty"`
	Device  uint64      `json:"dev"`
	Inode   uint64      `json:"ino"`
}

func toInfo(f host.FileInfo) info {
	return info{text(f.Name), f.Mode, f.Size, f.ModTime, text(f.Owner), text(f.Group), text(f.Target), f.Device, f.Inode}
}

func (i info) fileInfo() host.FileInfo {
	return host.FileInfo{
		Name: string(i.Name), Mode: i.Mode, Size: i.Size, ModTime: i.ModTime,
		Owner: string(i.Owner), Group: string(i.Group), Target: string(i.Target),
		Device: i.Device, Inode: i.Inode,
	}
}

// failure is an error on its way: its text, and what errors.Is and errors.As
// are to find in it at the other end.
type failure struct {
	Text  text   `json:"text"`
	Errno int    `json:"errno,omitempty"`
	Kind  string `json:"kind,omitempty"`
	Exit  *exit  `json:"exit,omitempty"`
}

type exit struct {
	Host   string `json:"host"`
	Cmd    text   `json:"cmd"`
	Code   int    `json:"code"`
	Stdout text   `json:"stdout,omitempty"`
	Stderr text   `json:"stderr,omitempty"`
}

// kinds are the errors that callers tell apart, by their name on the wire.
func kinds() map[string]error {
	return map[string]error{
		"not_exist":  fs.ErrNotExist,
		"exist":      fs.ErrExist,
		"permission": fs.ErrPermission,
		"not_found":  exec.ErrNotFound,
		"refused":    host.ErrRefused,
		"deadline":   context.DeadlineExceeded,
		"canceled":   context.Canceled,
	}
}

func toFailure(err error) *failure {
	if err == nil {
		return nil
	}
	f := &failure{Text: text(err.Error())}
	if e, ok := errors.AsType[*host.ExitError](err); ok {
		f.Exit = &exit{e.Host, text(e.Cmd), e.Code, text(e.Stdout), text(e.Stderr)}
	}
	if n, ok := errors.AsType[syscall.Errno](err); ok {
		f.Errno = int(n)
	}
	for name, target := range kinds() {
		if errors.Is(err, target) {
			f.Kind = name
		}
	}
	return f
}

// remoteError is an error that came over the wire.
type remoteError struct {
	text string
	is   []error
}

func (e *remoteError) Error() string   { return e.text }
func (e *remoteError) Unwrap() []error { return e.is }

func (f *failure) err() error {
	if f == nil {
		return nil
	}
	if x := f.Exit; x != nil {
		e := &host.ExitError{Host: x.Host, Cmd: string(x.Cmd), Code: x.Code, Stdout: string(x.Stdout), Stderr: string(x.Stderr)}
		if e.Error() == string(f.Text) {
			return e
		}
		return &remoteError{string(f.Text), []error{e}}
	}
	e := &remoteError{text: string(f.Text)}
	if f.Errno != 0 {
		e.is = append(e.is, syscall.Errno(f.Errno))
	}
	if k := kinds()[f.Kind]; k != nil {
		e.is = append(e.is, k)
	}
	return e
}

var errLongHeader = errors.New("the answer is too long to send")

// writeFrame writes a header and its payload in one go, where they are small,
// so that they travel in one packet.
func writeFrame(w io.Writer, header any, payload []byte) error {
	data, err := json.Marshal(header)
	if err != nil {
		return err
	}
	if len(data) > maxHeader {
		return fmt.Errorf("%w: %d bytes", errLongHeader, len(data))
	}
	buf := make([]byte, 4, 4+len(data)+min(len(payload), 64<<10))
	binary.BigEndian.PutUint32(buf, uint32(len(data)))
	buf = append(buf, data...)
	if len(payload) <= 64<<10 {
		buf, payload = append(buf, payload...), nil
	}
	if _, err := w.Write(buf); err != nil {
		return err
	}
	if len(payload) > 0 {
		_, err = w.Write(payload)
	}
	return err
}

// readHeader reads one header into v. It never allocates more than has come.
func readHeader(r io.Reader, v any) error {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxHeader {
		return fmt.Errorf("a header of %d bytes: this is not multihead speaking", n)
	}
	data, err := readN(r, int(n))
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}

// readN reads n bytes, growing as they come, so that a wrong length costs
// nothing.
func readN(r io.Reader, n int) ([]byte, error) {
	if n < 0 || n > host.MaxFile {
		return nil, fmt.Errorf("a payload of %d bytes", n)
	}
	if n <= 64<<10 {
		data := make([]byte, n)
		_, err := io.ReadFull(r, data)
		return data, err
	}
	data, err := io.ReadAll(io.LimitReader(r, int64(n)))
	if err == nil && len(data) < n {
		err = io.ErrUnexpectedEOF
	}
	return data, err
}

// sessionConfig is both ends'. A peer that does not answer is noticed after
// keepAliveEvery + keepAliveWait.
func sessionConfig() *yamux.Config {
	c := yamux.DefaultConfig()
	c.EnableKeepAlive = true
	c.KeepAliveInterval = keepAliveEvery
	c.ConnectionWriteTimeout = keepAliveWait
	c.LogOutput = io.Discard
	return c
}

const (
	keepAliveEvery = 3 * time.Second
	keepAliveWait  = 7 * time.Second
)

// timedOut says whether err is a stream's deadline passing.
func timedOut(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}
