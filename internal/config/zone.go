package config

import (
	"io/fs"
	"os"
	"regexp"
	"time"
	_ "time/tzdata" // the machine that reads the file may have no time zones of its own
)

var zoneName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}$`)

// isZone says whether a name is that of a time zone. "Local" is one to Go and to
// no host.
func isZone(name string) bool {
	if !zoneName.MatchString(name) || name == "Local" {
		return false
	}
	_, err := time.LoadLocation(name)
	return err == nil
}

// zoneDirectory is where machines keep the time zones. The list that is part of
// the program can be asked for a name and not for all of them.
const zoneDirectory = "/usr/share/zoneinfo"

func zoneRemedy(name string) Message {
	if near := nearest(name, zonesIn(os.DirFS(zoneDirectory))); near != "" {
		return msg("did you mean %s?", near)
	}
	return msg("write a name such as Asia/Seoul")
}

// zonesIn lists the names of time zones below a directory, none where there is
// none.
func zonesIn(dir fs.FS) []string {
	var out []string
	_ = fs.WalkDir(dir, ".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil // what cannot be read has no names to offer
		case entry.IsDir() && (path == "posix" || path == "right"):
			return fs.SkipDir // all names once more
		case !entry.IsDir() && path[0] >= 'A' && path[0] <= 'Z' && isZone(path):
			out = append(out, path)
		}
		return nil
	})
	return out
}
