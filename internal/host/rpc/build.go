package rpc

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"fmt"
	"io"
	"os"
)

// Self is the running binary, also after its file was removed or replaced.
const Self = "/proc/self/exe"

// BuildID is what tells one build of the binary from every other: a digest
// of the identity that the Go linker puts into it, which covers its content,
// and of the whole file where it has none. Reading the note costs
// microseconds where hashing the file costs tens of milliseconds, and every
// connection to a host begins with it.
func BuildID(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("build identity: %w", err)
	}
	defer func() { _ = f.Close() }()
	if id := linkerID(f); len(id) > 0 {
		sum := sha256.Sum256(id)
		return hex.EncodeToString(sum[:16]), nil
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, 1<<40)); err != nil {
		return "", fmt.Errorf("build identity: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
}

// linkerID reads the note that `go tool buildid` prints, nil where there is
// none.
func linkerID(r io.ReaderAt) []byte {
	e, err := elf.NewFile(r)
	if err != nil {
		return nil
	}
	s := e.Section(".note.go.buildid")
	if s == nil || s.Size > 4096 {
		return nil
	}
	note, err := s.Data()
	if err != nil || len(note) < 16 || !bytes.Equal(note[12:15], []byte("Go\x00")) {
		return nil
	}
	size := int(e.ByteOrder.Uint32(note[4:]))
	if size <= 0 || 16+size > len(note) {
		return nil
	}
	return note[16 : 16+size]
}

// ExitOtherBuild is the exit code of a server that was asked to be another
// build than it is, before it has said anything (EX_PROTOCOL).
const ExitOtherBuild = 76
