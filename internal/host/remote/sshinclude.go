package remote

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxIncludes is how deep files may include each other, as for ssh(1).
const maxIncludes = 16

// readSSHConfig is the text of a configuration file with the files that it
// includes in their places, and without the Match blocks whose conditions only
// ssh(1) itself can judge (exec, final, user …): distributions ship such in
// the system's file, and one of them must not hide all the rest.
func (c *sshConfig) readSSHConfig(path string, depth int) ([]byte, error) {
	if depth > maxIncludes {
		return nil, fmt.Errorf("%s: files include each other", path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	skipping := false
	for line := range bytes.Lines(data) {
		keyword, args := sshDirective(string(line))
		switch keyword {
		case "host":
			skipping = false
		case "match":
			skipping = !plainMatch(args)
		case "include":
			if skipping {
				continue
			}
			for _, pattern := range args {
				included, err := c.includes(path, pattern, depth)
				if err != nil {
					return nil, err
				}
				out.Write(included)
			}
			continue
		}
		if !skipping {
			out.Write(bytes.TrimRight(line, "\r\n"))
			out.WriteByte('\n')
		}
	}
	return out.Bytes(), nil
}

// includes is the text of all files that a pattern names. What cannot be read
// is left out, as ssh(1) does.
func (c *sshConfig) includes(from, pattern string, depth int) ([]byte, error) {
	pattern = c.expand(pattern)
	if !filepath.IsAbs(pattern) {
		dir := filepath.Join(c.home, ".ssh")
		if strings.HasPrefix(from, "/etc/") {
			dir = "/etc/ssh"
		}
		pattern = filepath.Join(dir, pattern)
	}
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return nil, fmt.Errorf("%s: Include %s: %w", from, pattern, err)
	}
	slices.Sort(paths)
	var out bytes.Buffer
	for _, p := range paths {
		text, err := c.readSSHConfig(p, depth+1)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out.Write(text)
	}
	return out.Bytes(), nil
}

// sshDirective splits a line into its keyword, in small letters, and the rest.
func sshDirective(line string) (keyword string, args []string) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return "", nil
	}
	end := strings.IndexAny(line, " \t=")
	if end < 0 {
		return strings.ToLower(line), nil
	}
	rest := strings.TrimLeft(line[end:], " \t=")
	for _, f := range strings.Fields(rest) {
		args = append(args, strings.Trim(f, `"`))
	}
	return strings.ToLower(line[:end]), args
}

// plainMatch says whether a Match has a condition that does not need ssh(1):
// all, or host with patterns and nothing else.
func plainMatch(args []string) bool {
	switch {
	case len(args) == 1:
		return strings.EqualFold(args[0], "all")
	case len(args) == 2:
		return strings.EqualFold(args[0], "host")
	}
	return false
}
