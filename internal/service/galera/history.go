package galera

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
)

// A cluster that begins again without a head which may hold commits of its own
// must not go on under its old identity. That head would come back with a
// position that the others have long given to something else; Galera compares
// identity and position alone, sends it what comes after, and from then on two
// copies differ without anybody being told. Under a new identity Galera lets
// nothing in but a whole copy, and what was there before can be kept aside.
//
// The new identity says where it comes from: a UUID of version 8, whose content
// is the maker's own affair, with a hash of the old identity and the position up
// to which both are the same. So whoever comes back can tell, without asking,
// whether it has anything that the others have not.

// successor is the identity under which the cluster goes on that parent was up
// to a position. The salt tells apart what begins more than once from one point.
func successor(parent string, at int64, salt string) string {
	sum := sha256.Sum256([]byte(parent))
	more := sha256.Sum256([]byte(parent + " " + strconv.FormatInt(at, 10) + " " + salt))
	var b [16]byte
	copy(b[:6], sum[:6])
	copy(b[6:10], more[:4])
	b[6] = 0x80 | b[6]&0x0f
	b[8] = 0x80 | b[8]&0x3f
	var position [8]byte
	binary.BigEndian.PutUint64(position[:], uint64(at))
	copy(b[10:], position[2:])
	x := hex.EncodeToString(b[:])
	return fmt.Sprintf("%s-%s-%s-%s-%s", x[:8], x[8:12], x[12:16], x[16:20], x[20:])
}

// descends says whether child goes on from parent, and up to which position
// both are the same.
func descends(child, parent string) (at int64, ok bool) {
	if !uuidForm.MatchString(child) || !uuidForm.MatchString(parent) || child[14] != '8' {
		return 0, false
	}
	sum := sha256.Sum256([]byte(parent))
	if child[:8]+child[9:13] != hex.EncodeToString(sum[:6]) {
		return 0, false
	}
	at, err := strconv.ParseInt(child[24:], 16, 64)
	return at, err == nil
}
