package gluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"multihead/internal/host"
)

// What glusterd's command line asks it, it asks over ONC RPC (RFC 5531) on the
// daemon's own socket. Asking there takes a fraction of a millisecond; starting
// the command takes 40 ms of the processor, which is what most of a look at
// four heads used to be. Program, procedure and arguments are those of
// rpc/rpc-lib/src/protocol-common.h and rpc/xdr/src/cli1-xdr.x, the same in
// every GlusterFS from 3.4 to 11.
const (
	daemonSocket = "/var/run/glusterd.socket"
	cliProgram   = 1238463
	cliVersion   = 2
	listFriends  = 3
	peersOnly    = 1 // GF_CLI_LIST_PEERS
)

// maxAnswer bounds an answer, in bytes: a thousand peers take a quarter of it.
const maxAnswer = 1 << 20

// friend is a peer as the daemon sees it now.
type friend struct {
	host      string   // the name it was probed by
	names     []string // all that it is known by
	uuid      string
	connected bool
	state     int    // peerInCluster for a full member
	word      string // "Peer in Cluster", "Peer Rejected"
}

// friends asks glusterd who its peers are and whether it reaches them. An
// answer also proves that the daemon is not hung.
func friends(ctx context.Context, r host.Reader) ([]friend, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	args := binary.BigEndian.AppendUint32(nil, peersOnly)
	args = binary.BigEndian.AppendUint32(args, 0) // an empty dictionary
	msg, err := call(ctx, r, callMessage(listFriends, args))
	if err != nil {
		return nil, err
	}
	return parseFriends(msg)
}

// callMessage is one call, with its record mark, without credentials: who may
// open the socket is root.
func callMessage(procedure uint32, args []byte) []byte {
	const call, rpcVersion, authNone = 0, 2, 0
	var b []byte
	for _, v := range []uint32{1, call, rpcVersion, cliProgram, cliVersion, procedure, authNone, 0, authNone, 0} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	b = append(b, args...)
	return append(binary.BigEndian.AppendUint32(nil, lastFragment|uint32(len(b))), b...)
}

// lastFragment marks the last fragment of a record (RFC 5531, section 11).
const lastFragment = 1 << 31

func readRecord(r io.Reader) ([]byte, error) {
	var msg []byte
	for {
		var mark [4]byte
		if _, err := io.ReadFull(r, mark[:]); err != nil {
			return nil, err
		}
		head := binary.BigEndian.Uint32(mark[:])
		size := int(head &^ lastFragment)
		if len(msg)+size > maxAnswer {
			return nil, fmt.Errorf("glusterd's answer has %d bytes", len(msg)+size)
		}
		part := make([]byte, size)
		if _, err := io.ReadFull(r, part); err != nil {
			return nil, err
		}
		msg = append(msg, part...)
		if head&lastFragment != 0 {
			return msg, nil
		}
	}
}

// errAnswer is an answer that is not what the protocol says.
var errAnswer = errors.New("glusterd's answer makes no sense")

// xdr reads big-endian words and opaque bytes (RFC 4506); bad is set where the
// message ends too early.
type xdr struct {
	rest []byte
	bad  bool
}

func (x *xdr) take(n int) []byte {
	if x.bad || n < 0 || n > len(x.rest) {
		x.bad = true
		return nil
	}
	out := x.rest[:n]
	x.rest = x.rest[n:]
	return out
}

func (x *xdr) word() uint32 {
	b := x.take(4)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

func parseFriends(msg []byte) ([]friend, error) {
	x := &xdr{rest: msg}
	_, kind, refused := x.word(), x.word(), x.word()
	_ = x.word()              // verifier
	_ = x.take(int(x.word())) // its body
	status := x.word()
	ret, errno := int32(x.word()), x.word()
	size := x.word()
	dict := &xdr{rest: x.take(int(size)), bad: x.bad}
	switch {
	case x.bad || kind != 1:
		return nil, errAnswer
	case refused != 0 || status != 0:
		return nil, fmt.Errorf("glusterd refuses the question (%d, %d)", refused, status)
	case ret != 0:
		return nil, &cliError{Errno: int(errno)}
	case size == 0:
		return nil, nil // without peers it sends no dictionary
	}
	return friendsOf(dict)
}

// friendsOf reads glusterd's dictionary: how many pairs, and of each the
// lengths, the key with a NUL, and the value, which is text with a NUL.
func friendsOf(x *xdr) ([]friend, error) {
	values := map[string]string{}
	for n := x.word(); n > 0 && !x.bad; n-- {
		keyLen, valueLen := int(x.word()), int(x.word())
		key := string(x.take(keyLen))
		x.take(1)
		values[key] = strings.TrimRight(string(x.take(valueLen)), "\x00")
	}
	number := func(key string) int {
		n, err := strconv.Atoi(values[key])
		if err != nil || n < 0 {
			x.bad = true
			return 0
		}
		return n
	}
	count := number("count")
	var out []friend
	for i := 1; i <= min(count, len(values)) && !x.bad; i++ {
		at := func(key string) string { return fmt.Sprintf("friend%d.%s", i, key) }
		f := friend{host: values[at("hostname")], uuid: values[at("uuid")], word: values[at("state")], connected: values[at("connected")] == "1"}
		f.state = number(at("stateId"))
		// Each name is a value of its own, so there are no more than those.
		for n := range min(number(at("hostname_count")), len(values)) {
			f.names = append(f.names, values[at("hostname")+strconv.Itoa(n)])
		}
		out = append(out, f)
	}
	if x.bad {
		return nil, errAnswer
	}
	return out, nil
}
