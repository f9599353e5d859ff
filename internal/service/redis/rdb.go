package redis

import (
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
)

// rdbHead is what the beginning of a snapshot tells.
type rdbHead struct {
	Empty  bool   // it ends right after its header: no key, no function
	ReplID string // replication id of the server that wrote it, where it said so
}

// Opcodes of the file format that come before the first key.
const (
	rdbAux = 0xFA
	rdbEnd = 0xFF
)

var errRDB = errors.New("not a Redis snapshot")

// peekRDB reads the header of a snapshot. A Redis that never held a key writes
// files too, so that a file alone is no sign of data; what follows the header
// is. data may be the beginning of the file only.
func peekRDB(data []byte) (rdbHead, error) {
	var h rdbHead
	if len(data) < 9 || !strings.HasPrefix(string(data), "REDIS") {
		return h, errRDB
	}
	if _, err := strconv.Atoi(string(data[5:9])); err != nil {
		return h, errRDB
	}
	rest := data[9:]
	for {
		if len(rest) == 0 {
			return h, errRDB
		}
		op := rest[0]
		rest = rest[1:]
		switch op {
		case rdbEnd:
			h.Empty = true
			return h, nil
		case rdbAux:
			var key, value string
			var ok bool
			if key, rest, ok = rdbString(rest); !ok {
				return h, errRDB
			}
			if value, rest, ok = rdbString(rest); !ok {
				return h, errRDB
			}
			if key == "repl-id" {
				h.ReplID = value
			}
		default: // a database, a function, a module's data
			return h, nil
		}
	}
}

// rdbString reads one encoded string. The two high bits of the first byte say
// how its length is written: 6 bits, 14 bits, 32 or 64 bits, or, as 11, that
// it is a number of 1, 2 or 4 bytes. Compressed ones do not occur in headers.
func rdbString(b []byte) (s string, rest []byte, ok bool) {
	if len(b) == 0 {
		return "", nil, false
	}
	first := b[0]
	var n uint64
	switch {
	case first>>6 == 0:
		n, b = uint64(first&0x3f), b[1:]
	case first>>6 == 1 && len(b) >= 2:
		n, b = uint64(first&0x3f)<<8|uint64(b[1]), b[2:]
	case first == 0x80 && len(b) >= 5:
		n, b = uint64(binary.BigEndian.Uint32(b[1:])), b[5:]
	case first == 0x81 && len(b) >= 9:
		n, b = binary.BigEndian.Uint64(b[1:]), b[9:]
	case first == 0xC0 && len(b) >= 2:
		return strconv.Itoa(int(int8(b[1]))), b[2:], true
	case first == 0xC1 && len(b) >= 3:
		return strconv.Itoa(int(int16(binary.LittleEndian.Uint16(b[1:])))), b[3:], true
	case first == 0xC2 && len(b) >= 5:
		return strconv.Itoa(int(int32(binary.LittleEndian.Uint32(b[1:])))), b[5:], true
	default:
		return "", nil, false
	}
	if n > uint64(len(b)) {
		return "", nil, false
	}
	return string(b[:n]), b[n:], true
}
