// Package config reads my_multihead_cluster.yaml: strictly, with defaults
// visible in one place and all problems reported at once with their place,
// their reason and their remedy.
//
// It imports nothing of multihead but the hostlist notation.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
)

// Option changes how Load reads a file.
type Option func(*options)

type options struct {
	lookup func(string) (string, bool)
}

// WithEnv resolves ${NAME} by lookup instead of the process environment.
func WithEnv(lookup func(name string) (string, bool)) Option {
	return func(o *options) { o.lookup = lookup }
}

// Load reads the file at path. The problems it returns are warnings when err
// is nil. A file that cannot be deployed safely gives an *InvalidError with
// all its problems; a file that cannot be read gives an fs.PathError.
func Load(path string, opts ...Option) (*Cluster, Problems, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, fmt.Errorf("cluster file: %w", err)
	}
	if info.IsDir() {
		return nil, nil, fmt.Errorf("cluster file: %w", &fs.PathError{Op: "read", Path: path, Err: errors.New("is a directory")})
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("cluster file: %w", err)
	}
	c, warnings, err := Parse(path, data, opts...)
	if err != nil {
		return nil, warnings, err
	}
	if p, ok := readableByOthers(c, c.source().secrets, info.Mode()); ok {
		warnings = append(Problems{p}, warnings...)
	}
	return c, warnings, nil
}

// Parse is Load for a file that was read already; name is what messages call
// it.
func Parse(name string, data []byte, opts ...Option) (*Cluster, Problems, error) {
	c, problems, err := readFile(name, data, opts...)
	if err == nil && len(problems.Errors()) > 0 {
		return nil, problems, &InvalidError{problems}
	}
	return c, problems, err
}

// readFile is Parse for a file whose values may contradict each other: only one that
// says nothing is an error.
func readFile(name string, data []byte, opts ...Option) (*Cluster, Problems, error) {
	o := options{lookup: os.LookupEnv}
	for _, opt := range opts {
		opt(&o)
	}
	d := &decoder{file: name, fields: make(fieldTable), pos: make(map[string]Position), bad: make(map[string]bool)}
	root := parseYAML(data, func(line, col int, path string, what, fix Message) {
		d.problems = append(d.problems, Problem{Error, Position{name, line, col}, path, what, fix})
		d.bad[path] = true
	})
	c := defaults()
	src := &source{file: name, data: data, pos: d.pos}
	c.src = func() *source { return src }
	if root == nil || root.kind == nullKind {
		if len(d.problems) == 0 {
			d.fail(&node{line: 1, col: 1}, "", msg("the file is empty"), msg("start with the output of multihead init"))
		}
		return nil, d.problems, &InvalidError{d.problems}
	}
	if root.kind != mapKind {
		d.fail(root, "", msg("%s is not a cluster file", d.quote(root)), msg("start with the output of multihead init"))
		return nil, d.problems, &InvalidError{d.problems}
	}
	d.vars = &variables{lookup: o.lookup, section: root.get("environment")}
	d.modernise(root)
	d.decode(root, reflect.ValueOf(c).Elem(), "", nil)
	d.warnLater()
	c.complete()
	d.problems = append(d.problems, validate(c, d)...)
	c.source().secrets = d.secrets
	d.problems.sort()
	return c, d.problems, nil
}
