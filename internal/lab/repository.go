package lab

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// indexRepository turns a directory of .deb files into a flat apt repository
// by writing its Packages and Release files. It uses dpkg-deb, which every
// Debian has, rather than dpkg-dev or apt-utils, which few have.
func indexRepository(ctx context.Context, dir string, date time.Time) error {
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil {
		return err
	}
	if len(debs) == 0 {
		return fmt.Errorf("%s: no packages were downloaded", dir)
	}
	var index strings.Builder
	for _, deb := range debs {
		control, err := run(ctx, "dpkg-deb", "--field", deb)
		if err != nil {
			return err
		}
		entry, err := packagesEntry(control, deb)
		if err != nil {
			return err
		}
		index.WriteString(entry)
	}
	if err := writeFile(filepath.Join(dir, "Packages"), index.String(), 0o644); err != nil {
		return err
	}
	release := fmt.Sprintf("Origin: multihead\nLabel: multihead offline\nDate: %s\nSHA256:\n %x %d Packages\n",
		date.UTC().Format(time.RFC1123), sha256.Sum256([]byte(index.String())), index.Len())
	return writeFile(filepath.Join(dir, "Release"), release, 0o644)
}

func packagesEntry(control, deb string) (string, error) {
	f, err := os.Open(deb)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	size, err := io.Copy(sum, f)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s\nFilename: ./%s\nSize: %d\nSHA256: %x\n\n",
		strings.TrimRight(control, "\n"), filepath.Base(deb), size, sum.Sum(nil)), nil
}
