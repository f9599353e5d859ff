// Package bundle is what a site without the internet installs from: the packages of
// a Debian release with all that they depend on, as a signed repository, and the
// tool itself, with a manifest and checksums. Create makes one, Verify says what is
// wrong with one, Provide makes a plan install from one.
package bundle

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// The files of a bundle, beside the repository.
const (
	manifestFile = "manifest.json"
	sumsFile     = "SHA256SUMS" // of all others: sha256sum -c reads it
	keyFile      = "repository.asc"
	toolFile     = "multihead"
	repository   = "repository"
	formatNow    = 1
)

// Package is one package file of a bundle.
type Package struct {
	Name         string `json:"name"`
	Version      string `json:"version"`
	Architecture string `json:"architecture"`
	File         string `json:"file"` // below repository/
	Size         int64  `json:"size"` // bytes
	SHA256       string `json:"sha256"`
}

// Manifest says what a bundle has.
type Manifest struct {
	FormatVersion int                 `json:"format_version"`
	ID            string              `json:"id"` // the time it was made, for people to tell two apart
	Made          time.Time           `json:"made"`
	Tool          string              `json:"tool"`         // version of the multihead in it
	Release       string              `json:"release"`      // Debian's code name
	Architecture  string              `json:"architecture"` // Debian's name of it
	Key           string              `json:"key"`          // fingerprint of what the repository is signed with
	Wanted        map[string][]string `json:"wanted"`       // what was asked for, by role
	Packages      []Package           `json:"packages"`     // that, and all it depends on, by name
}

// Size is what the packages take, in bytes.
func (m *Manifest) Size() int64 {
	var n int64
	for _, p := range m.Packages {
		n += p.Size
	}
	return n
}

// Load reads a bundle's manifest and nothing else.
func Load(dir string) (*Manifest, error) {
	data, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is no bundle: it has no %s; make one with: multihead bundle create", dir, manifestFile)
	}
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	m, err := parseManifest(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, manifestFile), err)
	}
	return m, nil
}

func parseManifest(data []byte) (*Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("the manifest cannot be read: %w", err)
	}
	if m.FormatVersion != formatNow {
		return nil, fmt.Errorf("the bundle has format %d, and this tool reads %d: use the multihead that lies in the bundle", m.FormatVersion, formatNow)
	}
	for _, p := range m.Packages {
		if p.File == "" || p.File != filepath.Base(p.File) || strings.HasPrefix(p.File, ".") {
			return nil, fmt.Errorf("the manifest names a file that is none of a repository: %q", p.File)
		}
	}
	return &m, nil
}

// Problem is one thing that is wrong with a bundle.
type Problem struct {
	File    string `json:"file"`
	Package string `json:"package,omitempty"`
	What    string `json:"what"`
}

// String is one line for a person.
func (p Problem) String() string {
	if p.Package != "" {
		return fmt.Sprintf("%s (%s): %s", p.Package, p.File, p.What)
	}
	return p.File + ": " + p.What
}

// Broken is a bundle that cannot be installed from, with all that is wrong.
type Broken struct {
	Dir      string
	Problems []Problem
}

// brokenShown bounds how many problems an error lists.
const brokenShown = 20

// Error lists the problems.
func (b *Broken) Error() string {
	lines := []string{fmt.Sprintf("the bundle in %s is incomplete or damaged:", b.Dir)}
	for i, p := range b.Problems {
		if i == brokenShown {
			lines = append(lines, fmt.Sprintf("  and %d more", len(b.Problems)-i))
			break
		}
		lines = append(lines, "  "+p.String())
	}
	return strings.Join(append(lines, "copy it anew, or make it anew with: multihead bundle create"), "\n")
}

// Verify reads every file of a bundle and compares it with the checksums. It
// returns the manifest, and a *Broken with everything that is wrong. digest is the
// checksum of the checksums: who reads it out where the bundle was made and compares
// it knows that nobody changed anything on the way.
func Verify(dir string) (m *Manifest, digest string, err error) {
	if m, err = Load(dir); err != nil {
		return nil, "", err
	}
	data, err := os.ReadFile(filepath.Join(dir, sumsFile))
	if err != nil {
		return m, "", &Broken{dir, []Problem{{File: sumsFile, What: reason(err)}}}
	}
	sums, err := parseSums(string(data))
	if err != nil {
		return m, "", &Broken{dir, []Problem{{File: sumsFile, What: err.Error()}}}
	}
	total := sha256.Sum256(data)
	digest = hex.EncodeToString(total[:])
	problems := append(compare(dir, sums, m), agree(sums, m)...)
	if len(problems) == 0 {
		return m, digest, nil
	}
	slices.SortFunc(problems, func(x, y Problem) int {
		return cmp.Or(cmp.Compare(x.Package, y.Package), cmp.Compare(x.File, y.File))
	})
	return m, digest, &Broken{dir, problems}
}

// agree compares the checksums with the manifest, which has to name the same
// packages: a list with a line cut out would still be right about all the others.
func agree(sums map[string]string, m *Manifest) []Problem {
	var out []Problem
	for _, p := range m.Packages {
		name := repository + "/" + p.File
		switch sum, ok := sums[name]; {
		case !ok:
			out = append(out, Problem{name, p.Name, "is not in " + sumsFile})
		case sum != p.SHA256:
			out = append(out, Problem{name, p.Name, sumsFile + " and the manifest have different checksums for it"})
		}
	}
	for _, name := range []string{manifestFile, keyFile, toolFile, repository + "/Packages", repository + "/InRelease"} {
		if sums[name] == "" {
			out = append(out, Problem{File: name, What: "is not in " + sumsFile})
		}
	}
	return out
}

// compare works out the checksum of every file named.
func compare(dir string, sums map[string]string, m *Manifest) []Problem {
	owner := map[string]string{}
	for _, p := range m.Packages {
		owner[repository+"/"+p.File] = p.Name
	}
	var mu sync.Mutex
	var out []Problem
	var g errgroup.Group
	g.SetLimit(2) // two are as fast as a disk
	for name, want := range sums {
		g.Go(func() error {
			what := ""
			switch got, _, err := sumFile(filepath.Join(dir, filepath.FromSlash(name))); {
			case err != nil:
				what = reason(err)
			case got != want:
				what = "is damaged: its checksum is another one"
			default:
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			out = append(out, Problem{name, owner[name], what})
			return nil
		})
	}
	_ = g.Wait() // what is wrong is in out
	return out
}

// reason is why a file cannot be read, without its path.
func reason(err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return "is missing"
	}
	var p *fs.PathError
	if errors.As(err, &p) {
		return "cannot be read: " + p.Err.Error()
	}
	return err.Error()
}

// parseSums reads the lines of sha256sum.
func parseSums(text string) (map[string]string, error) {
	sums := map[string]string{}
	sc := bufio.NewScanner(strings.NewReader(text))
	for sc.Scan() {
		sum, name, ok := strings.Cut(sc.Text(), "  ")
		if raw, err := hex.DecodeString(sum); !ok || err != nil || len(raw) != sha256.Size || !filepath.IsLocal(name) {
			return nil, errors.New("is damaged: a line is none of sha256sum's")
		}
		sums[name] = sum
	}
	return sums, sc.Err()
}

// sumFile is a file's SHA-256 and its size in bytes.
func sumFile(path string) (sum string, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	size, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), size, err
}
