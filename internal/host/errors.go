package host

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"
)

// NobodyListens says whether Dial failed because a socket is not there, or was
// left behind by a process that has ended: a daemon that hangs does not look
// like that. From a far machine only the words arrive.
func NobodyListens(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) ||
		strings.Contains(err.Error(), "no such file or directory") || strings.Contains(err.Error(), "connection refused")
}
