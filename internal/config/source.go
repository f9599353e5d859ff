package config

import (
	"strconv"
	"strings"
)

// source is where a Cluster came from.
type source struct {
	file string
	data []byte
	pos  map[string]Position // by path
	// secrets is every password of the file and where it stands.
	secrets []placedSecret
}

// source returns where the cluster came from: nowhere, for one that was made
// by hand.
func (c *Cluster) source() *source {
	if c.src == nil {
		return &source{}
	}
	return c.src()
}

func indexPath(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// Pos returns where the file sets the key at path, such as
// "nodes.controllers[2].priority". For a key the file leaves out it is the
// place of the nearest part around it, and at least the start of the file.
func (c *Cluster) Pos(path string) Position {
	for {
		if p, ok := c.source().pos[path]; ok {
			return p
		}
		i := strings.LastIndexAny(path, ".[")
		if i < 0 && path == "" {
			return Position{File: c.source().file, Line: 1, Col: 1}
		}
		path = path[:max(i, 0)]
	}
}

// Has reports whether the file itself sets the key at path.
func (c *Cluster) Has(path string) bool {
	_, ok := c.source().pos[path]
	return ok
}

// File returns the path the cluster was loaded from.
func (c *Cluster) File() string { return c.source().file }

// Source returns the bytes of the file as they were read. They hold the
// file's secrets.
func (c *Cluster) Source() []byte { return c.source().data }
