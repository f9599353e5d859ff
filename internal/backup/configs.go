package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"multihead/internal/host"
	"multihead/internal/plan"
)

// Attr is what a configuration file is besides its content.
type Attr struct {
	Mode  uint32 `json:"mode"` // permission bits
	Owner string `json:"owner"`
	Group string `json:"group"`
	Link  string `json:"link,omitempty"` // where it points, of a symbolic link, which has no content
}

// ConfigFile is one file of a head's configuration as a snapshot has it.
type ConfigFile struct {
	Host string `json:"host"`
	Path string `json:"path"`
	Data []byte `json:"data"`
	Attr *Attr  `json:"attr,omitempty"` // nil in snapshots of older tools
	gone bool   // there is none now
}

// link is where it points; empty where it is a file.
func (f ConfigFile) link() string {
	if f.Attr == nil {
		return ""
	}
	return f.Attr.Link
}

const attributesSuffix = ".attributes.json"

func sum(data []byte) string {
	h := sha256.Sum256(data)
	return hex.EncodeToString(h[:])
}

func writeAttributes(staging, head string, attrs map[string]Attr) error {
	data, err := json.MarshalIndent(attrs, "", " ")
	if err != nil {
		return err
	}
	dir := filepath.Join(staging, "configs")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, head+attributesSuffix), append(data, '\n'), 0o600)
}

// Looks are the jobs that change nothing: a dry run may ask for them.
func (w Worker) Looks(ctx context.Context, j Job) (Result, error) {
	if j.Op != "read-configs" {
		return Result{}, fmt.Errorf("%q is no job that only looks", j.Op)
	}
	if !filepath.IsAbs(j.Root) || !ValidID(j.ID) {
		return Result{}, errors.New("the job does not say what to read")
	}
	return w.readConfigs(ctx, j)
}

// readConfigs reads the configuration of all heads out of a snapshot, compared
// with its checksums. It writes nothing.
func (w Worker) readConfigs(ctx context.Context, j Job) (Result, error) {
	s, err := readStored(Layout{j.Root}, j.ID)
	if err != nil {
		return Result{}, err
	}
	found, err := w.restic(j).list(ctx)
	if err != nil {
		return Result{}, err
	}
	if found[j.ID] == "" {
		return Result{}, errors.New("restic does not have it any more")
	}
	files := map[string][]byte{}
	err = w.restic(j).tar(ctx, found[j.ID], filepath.Join(s.Staging, Configs), func(in io.Reader) error {
		return eachFile(in, s.Staging, func(rel string, data io.Reader) error {
			all, err := io.ReadAll(io.LimitReader(data, largeConfig+1))
			files[rel] = all
			return err
		})
	})
	if err != nil {
		return Result{}, err
	}
	for _, f := range s.Files {
		if within(f.Path, []string{Configs}) && sum(files[f.Path]) != f.SHA256 {
			return Result{}, fmt.Errorf("%s is not what was stored", f.Path)
		}
	}
	list, err := configFiles(files)
	return Result{Configs: list}, err
}

// configFiles sorts collected files by head: configs/HEAD/PATH, beside
// configs/HEAD.attributes.json.
func configFiles(files map[string][]byte) ([]ConfigFile, error) {
	attrs := map[string]map[string]Attr{}
	var out []ConfigFile
	for p, data := range files {
		rest, ok := strings.CutPrefix(p, Configs+"/")
		if !ok {
			continue
		}
		head, rel, deep := strings.Cut(rest, "/")
		if !deep {
			h, is := strings.CutSuffix(head, attributesSuffix)
			if !is {
				return nil, fmt.Errorf("%s is of no head", p)
			}
			m := map[string]Attr{}
			if err := json.Unmarshal(data, &m); err != nil {
				return nil, fmt.Errorf("%s: %w", p, err)
			}
			attrs[h] = m
			continue
		}
		out = append(out, ConfigFile{Host: head, Path: "/" + rel, Data: data})
	}
	for head, of := range attrs {
		for p, a := range of {
			if _, file := files[Configs+"/"+head+p]; a.Link != "" && !file {
				out = append(out, ConfigFile{Host: head, Path: p})
			}
		}
	}
	for i := range out {
		if a, ok := attrs[out[i].Host][out[i].Path]; ok {
			out[i].Attr = &a
		}
	}
	slices.SortFunc(out, func(a, b ConfigFile) int { return strings.Compare(a.Host+a.Path, b.Host+b.Path) })
	return out, nil
}

// notBroughtBack says why a configuration file stays as it is: it says who a
// machine is, or multihead writes it from the cluster file. Empty means that it is
// the site's.
func notBroughtBack(p string, data []byte) string {
	of := func(dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }
	switch {
	case of("/etc/multihead"), of("/var/lib/glusterd"), of("/etc/hostname"), of("/etc/hosts"), of("/etc/munge"):
		return "it says who the machine is, or is a key of this cluster"
	case of("/etc/redis"):
		return "Redis writes it itself"
	case bytes.Contains(data, []byte("Managed by multihead")):
		return "multihead up writes it from the cluster file"
	}
	return ""
}

// ReadConfigs asks a head for the configuration that its copy of a snapshot has.
// It only looks.
func ReadConfigs(ctx context.Context, r host.Reader, root, id string) ([]ConfigFile, error) {
	in, err := json.Marshal(Job{Op: "read-configs", Root: root, ID: id})
	if err != nil {
		return nil, err
	}
	out, err := r.Ask(ctx, host.Cmd{Argv: []string{binary, "backup-work", "--look"}, Stdin: in})
	if err != nil {
		return nil, fmt.Errorf("the configuration in %s: %w", id, err)
	}
	var res Result
	if err := json.Unmarshal([]byte(out), &res); err != nil {
		return nil, fmt.Errorf("%s: what backup-work answered: %w", r.Name(), err)
	}
	return res.Configs, nil
}

// Changed lists the files that would be brought back: the site's own, on hosts
// that were reached, that are gone or differ. What every other file is left for is
// what notBroughtBack says.
func Changed(ctx context.Context, list []ConfigFile, hosts map[string]host.Reader) ([]ConfigFile, error) {
	var out []ConfigFile
	for _, f := range list {
		r := hosts[f.Host]
		if r == nil || notBroughtBack(f.Path, f.Data) != "" || !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path {
			continue
		}
		info, err := r.Stat(ctx, f.Path)
		if err == nil && f.link() != "" && (info.Target == f.link() || info.IsDir()) {
			continue // the link itself counts, and not what is at its end, if anything is
		}
		var now []byte
		if err == nil && (f.link() == "" || info.Target == "") {
			now, err = r.ReadFile(ctx, f.Path)
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			f.gone = true
		case err != nil:
			return nil, fmt.Errorf("%s: %w", f.Host, err)
		case f.link() == "" && bytes.Equal(now, f.Data) || notBroughtBack(f.Path, now) != "":
			continue
		}
		out = append(out, f)
	}
	return out, nil
}

// configSteps keep what is replaced, and write what the snapshot has.
func (r Restore) configSteps(base Job) (keep, write []plan.Step) {
	byHost := map[string][]string{}
	var hosts []string
	for _, f := range r.Configs {
		if byHost[f.Host] == nil {
			hosts = append(hosts, f.Host)
		}
		byHost[f.Host] = append(byHost[f.Host], f.Path)
		var attr host.Attr
		switch {
		case f.gone && f.Attr == nil:
			attr.Mode = 0o600
		case f.Attr != nil:
			attr = host.Attr{Mode: fs.FileMode(f.Attr.Mode).Perm(), Owner: f.Attr.Owner, Group: f.Attr.Group}
		}
		if f.link() != "" {
			write = append(write, plan.Step{ID: "restore.config." + f.Path, Host: f.Host, Action: plan.Link{Path: f.Path, Target: f.link()}})
			continue
		}
		write = append(write, plan.Step{ID: "restore.config." + f.Path, Host: f.Host, Action: plan.File{Path: f.Path, Data: f.Data, Attr: attr, Secret: true}})
	}
	for _, h := range hosts {
		j := base
		j.Op, j.IDs, j.ID = "configs-keep", byHost[h], ""
		keep = append(keep, job("configs.keep", h, "keep what is there of "+fmt.Sprint(len(byHost[h]))+" files in "+j.keptConfigs(), j, nil, nil))
	}
	return keep, write
}

func (j Job) keptConfigs() string { return filepath.Join(j.Root, "kept", j.Stamp, "configs") }

// configsKeep copies files of this head aside, with what they are besides.
func (w Worker) configsKeep(_ context.Context, j Job) (Result, error) {
	if !stampPattern.MatchString(j.Stamp) {
		return Result{}, errors.New("the job does not say where to")
	}
	for _, p := range j.IDs {
		if !filepath.IsAbs(p) || filepath.Clean(p) != p {
			return Result{}, fmt.Errorf("%q is no path", p)
		}
		to := filepath.Join(j.keptConfigs(), p)
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return Result{}, err
		}
		if err := copyFile(p, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Result{}, err
		}
	}
	return Result{}, nil
}
