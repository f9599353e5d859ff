package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Image is a finished image in the cache.
type Image struct {
	Name  string        `json:"name"`
	Key   string        `json:"key"` // name and digest of the recipe
	Made  time.Time     `json:"made"`
	Took  time.Duration `json:"took_ns"`
	Bytes int64         `json:"bytes"` // of the root directory and the repository
	dir   string
}

// Root is the image's file system, never written to once made.
func (i Image) Root() string { return filepath.Join(i.dir, "root") }

// Repository is the apt repository beside a bare image, else "".
func (i Image) Repository() string {
	p := filepath.Join(i.dir, "repository")
	if _, err := os.Stat(p); err != nil {
		return ""
	}
	return p
}

// BuildImage makes the image unless the cache has it. Builders of the same
// image wait for each other; the image appears in one rename, when whole.
func BuildImage(ctx context.Context, name string, progress func(Event)) (Image, error) {
	recipe, err := recipeFor(name)
	if err != nil {
		return Image{}, err
	}
	dir := imagesDir(Dir())
	if img, err := readImage(filepath.Join(dir, recipe.key())); err == nil {
		return img, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Image{}, err
	}
	unlock, err := lockFile(ctx, filepath.Join(dir, recipe.key()+".lock"), func() {
		say(progress, "", "image "+name+": somebody else is building it, waiting")
	})
	if err != nil {
		return Image{}, err
	}
	defer unlock()
	if img, err := readImage(filepath.Join(dir, recipe.key())); err == nil {
		return img, nil
	}
	img, err := buildImage(ctx, recipe, dir, progress)
	if err != nil {
		return Image{}, fmt.Errorf("building image %s: %w", name, err)
	}
	return img, nil
}

// buildImage runs under the image's lock, so what it finds in its build
// directory was left by a builder that died.
func buildImage(ctx context.Context, r Recipe, dir string, progress func(Event)) (Image, error) {
	began := time.Now()
	building := filepath.Join(dir, "."+r.key()+".building")
	if err := removeTree(building); err != nil {
		return Image{}, err
	}
	if err := os.Mkdir(building, 0o755); err != nil {
		return Image{}, err
	}
	defer func() { _ = removeTree(building) }() // gone already when all went well
	img := Image{Name: r.Name, Key: r.key(), dir: building}
	mirror := debianMirror(ctx)
	say(progress, "", fmt.Sprintf("image %s: not in the cache, building it from Debian %s (about a minute)", r.Name, r.Suite))
	if err := bootstrap(ctx, r, img, mirror, progress); err != nil {
		return Image{}, err
	}
	if err := finishImage(ctx, r, img.Root()); err != nil {
		return Image{}, err
	}
	if len(r.Offline) > 0 {
		say(progress, "", "image "+r.Name+": indexing the offline repository")
		if err := indexRepository(ctx, filepath.Join(building, "repository"), began); err != nil {
			return Image{}, err
		}
	}
	if err := os.Remove(filepath.Join(building, "apt.conf")); err != nil {
		return Image{}, err
	}
	img.Made, img.Took, img.Bytes = time.Now().UTC(), time.Since(began), diskUsage(building)
	if err := writeJSON(filepath.Join(building, "image.json"), img); err != nil {
		return Image{}, err
	}
	final := filepath.Join(dir, r.key())
	if err := removeTree(final); err != nil { // without a readable image.json it was not whole
		return Image{}, err
	}
	if err := os.Rename(building, final); err != nil {
		return Image{}, err
	}
	say(progress, "", fmt.Sprintf("image %s: made in %s, %d MB", r.Name, img.Took.Round(time.Second), img.Bytes>>20))
	return readImage(final)
}

// bootstrap runs mmdebstrap in mount and process namespaces of its own, tied
// to this process: if the tool is killed, the build and its mounts go too.
func bootstrap(ctx context.Context, r Recipe, img Image, mirror string, progress func(Event)) error {
	// A file, as a proxy's address may hold a password, which argv would show.
	if err := writeFile(filepath.Join(img.dir, "apt.conf"), aptConfig(ctx), 0o600); err != nil {
		return err
	}
	args := []string{
		"--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
		"mmdebstrap", "--mode=root", "--variant=minbase", "--keyring=" + keyring,
		"--aptopt=" + filepath.Join(img.dir, "apt.conf"),
		"--dpkgopt=force-unsafe-io",
		"--dpkgopt=path-exclude=/usr/share/man/*",
		"--dpkgopt=path-exclude=/usr/share/doc/*",
		"--dpkgopt=path-exclude=/usr/share/locale/*",
		"--include=" + strings.Join(r.Packages, ","),
	}
	if len(r.Offline) > 0 {
		repository := filepath.Join(img.dir, "repository")
		if err := os.Mkdir(repository, 0o755); err != nil {
			return err
		}
		args = append(args, "--customize-hook="+
			`APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get -y --no-install-recommends --download-only install `+strings.Join(r.Offline, " ")+
			` && mv "$1"/var/cache/apt/archives/*.deb `+shellQuote(repository))
	}
	args = append(args, r.Suite, img.Root(), mirror)
	err := runTied(command(ctx, "unshare", args...), func(line string) {
		if text, ok := strings.CutPrefix(line, "I: "); ok {
			say(progress, "", "image "+r.Name+": "+first(text, 70))
		}
	})
	if ctx.Err() != nil {
		return context.Cause(ctx) // that it was killed then is our own doing
	}
	return err
}

// runTied runs cmd so that the kernel kills it when this process dies, and
// hands over its stderr line by line.
func runTied(cmd *exec.Cmd, line func(string)) error {
	// The death signal follows the thread that started the child, so that
	// thread must stay until the child is done.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	var last []string
	for sc := bufio.NewScanner(stderr); sc.Scan(); {
		if last = append(last, sc.Text()); len(last) > 12 {
			last = last[1:]
		}
		line(sc.Text())
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w%s", filepath.Base(cmd.Path), err, tail(strings.Join(last, "\n"), 12))
	}
	return nil
}

// first is the beginning of a text, in n characters at most.
func first(text string, n int) string {
	if r := []rune(text); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return text
}

// finishImage makes the fresh file system one that many hosts can share:
// nothing that must be a host's own, nothing that starts by itself.
func finishImage(ctx context.Context, r Recipe, root string) error {
	for _, name := range []string{"/etc/munge/munge.key", "/etc/resolv.conf", "/etc/hostname", "/var/lib/dbus/machine-id", "/etc/apt/apt.conf.d/99mmdebstrap"} {
		if err := os.Remove(root + name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	keys, err := filepath.Glob(root + "/etc/ssh/ssh_host_*")
	if err != nil {
		return err
	}
	for _, k := range keys {
		if err := os.Remove(k); err != nil {
			return err
		}
	}
	for name, text := range imageFiles(r) {
		if err := writeFile(root+name, text, 0o644); err != nil {
			return err
		}
	}
	if err := makeUsers(ctx, root); err != nil {
		return err
	}
	if err := os.Chmod(root+"/etc/sudoers.d/lab", 0o440); err != nil {
		return err
	}
	return setUnits(ctx, root)
}

// imageFiles are the files every host of the image has.
func imageFiles(r Recipe) map[string]string {
	files := map[string]string{
		"/etc/machine-id":     "", // systemd fills it on the first boot
		"/etc/default/locale": "LANG=C.UTF-8\n",
		"/etc/sudoers.d/lab": "# made by the lab: admin is asked for the password, ops is not\n" +
			"admin ALL=(ALL:ALL) ALL\nops ALL=(ALL:ALL) NOPASSWD: ALL\n",
		"/etc/systemd/journald.conf.d/lab.conf": "[Journal]\nStorage=persistent\nSystemMaxUse=64M\nRateLimitIntervalSec=0\n",
		// The lab's hosts share the machine's clock and may not set it
		// (CAP_SYS_TIME is dropped): chronyd measures and serves, no more.
		"/etc/systemd/system/chrony.service.d/lab.conf": "[Unit]\nConditionCapability=\n" +
			"[Service]\nExecStart=\nExecStart=!/usr/sbin/chronyd -x $DAEMON_OPTS\n",
		"/etc/apt/sources.list": "# a host of the lab has no way out of it\n",
	}
	if len(r.Offline) > 0 {
		files["/etc/apt/sources.list"] = "deb [trusted=yes] file:" + RepositoryMount + " ./\n"
	}
	return files
}

// RepositoryMount is where hosts of a bare image see the offline repository.
const RepositoryMount = "/srv/multihead-repo"

func makeUsers(ctx context.Context, root string) error {
	for _, user := range []string{"admin", "ops"} {
		if _, err := run(ctx, "chroot", root, "useradd", "--create-home", "--shell", "/bin/bash", "--user-group", user); err != nil {
			return err
		}
	}
	for _, d := range []string{"/data", RepositoryMount, "/root/.ssh"} {
		if err := os.MkdirAll(root+d, 0o755); err != nil {
			return err
		}
	}
	return os.Chmod(root+"/root/.ssh", 0o700)
}

func setUnits(ctx context.Context, root string) error {
	systemctl := func(verb string, units ...string) error {
		_, err := run(ctx, "systemctl", append([]string{"--root=" + root, "--quiet", verb}, units...)...)
		return err
	}
	var present []string
	for _, u := range serviceUnits {
		for _, dir := range []string{"/usr/lib/systemd/system/", "/lib/systemd/system/"} {
			if _, err := os.Stat(root + dir + u); err == nil {
				present = append(present, u)
				break
			}
		}
	}
	if len(present) > 0 {
		if err := systemctl("disable", present...); err != nil {
			return err
		}
	}
	if err := systemctl("mask", maskedUnits...); err != nil {
		return err
	}
	if err := systemctl("enable", "ssh.service", "systemd-networkd.service"); err != nil {
		return err
	}
	return systemctl("set-default", "multi-user.target")
}

func readImage(dir string) (Image, error) {
	var img Image
	data, err := os.ReadFile(filepath.Join(dir, "image.json"))
	if err != nil {
		return Image{}, err
	}
	if err := json.Unmarshal(data, &img); err != nil {
		return Image{}, fmt.Errorf("%s/image.json: %w", dir, err)
	}
	img.dir = dir
	return img, nil
}

// Images lists the finished images in the cache.
func Images() ([]Image, error) {
	found, err := filepath.Glob(filepath.Join(imagesDir(Dir()), "*", "image.json"))
	if err != nil {
		return nil, err
	}
	var images []Image
	for _, f := range found {
		img, err := readImage(filepath.Dir(f))
		if err != nil {
			return nil, err
		}
		images = append(images, img)
	}
	return images, nil
}

// PruneImages removes images that no lab uses and no recipe of this version
// of the tool makes any more, and says which.
func PruneImages(progress func(Event)) error {
	keep := map[string]bool{}
	for _, n := range ImageNames() {
		r, err := recipeFor(n)
		if err != nil {
			return err
		}
		keep[r.key()] = true
	}
	names, err := Names()
	if err != nil {
		return err
	}
	for _, n := range names {
		l, err := Open(n)
		if err != nil {
			return fmt.Errorf("not knowing what image the lab %q uses, none is removed: %w", n, err)
		}
		keep[l.image.Key] = true
	}
	images, err := Images()
	if err != nil {
		return err
	}
	for _, i := range images {
		if keep[i.Key] {
			continue
		}
		if err := removeTree(i.dir); err != nil {
			return err
		}
		_ = os.Remove(i.dir + ".lock")
		say(progress, "", "removed image "+i.Key)
	}
	return nil
}

// diskUsage is the space the files below dir take. What cannot be read
// counts as nothing: the figure is for people.
func diskUsage(dir string) int64 {
	var total int64
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := d.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				total += st.Blocks * 512
			}
		}
		return nil
	})
	return total
}
