package base

import (
	"bytes"
	"fmt"
	"strings"

	"multihead/internal/service"
)

// The bounds of a munge key, in bytes; munged refuses shorter ones.
const (
	mungeKeyMin = 32
	mungeKeyMax = 1024
	mungeKey    = "/etc/munge/munge.key"
	mungeUnit   = "munge.service"
)

// keyring is what one host showed of its munge key.
type keyring struct {
	host  string
	head  bool
	key   []byte // nil where there is none
	has   service.Answer
	why   string         // why it is not known
	slurm service.Answer // whether a Slurm daemon runs there
}

func (k keyring) valid() bool {
	return k.has == service.Yes && len(k.key) >= mungeKeyMin && len(k.key) <= mungeKeyMax
}

// keyChoice is the one key and what it means for hosts that have another.
type keyChoice struct {
	key   []byte // nil: nobody has one, and a new one may be made
	from  string // the host that it comes from
	aside []string
	why   string
}

// chooseKey decides which munge key is the cluster's.
//
// A key that exists is never thrown away for a new one. Debian makes a
// different key on every host when the package is installed, so different keys
// alone mean nothing; a key that a running Slurm uses does, and wins. Where no
// Slurm runs, the first head's key is taken. What others had is kept aside.
func chooseKey(hosts []keyring, intent service.Intent) (keyChoice, error) {
	var c keyChoice
	var unknown []string
	for _, pass := range []func(keyring) bool{
		func(k keyring) bool { return k.slurm == service.Yes },
		func(k keyring) bool { return k.head },
		func(keyring) bool { return true },
	} {
		for _, k := range hosts {
			if c.key == nil && k.valid() && pass(k) {
				c.key, c.from = k.key, k.host
			}
		}
	}
	for _, k := range hosts {
		switch {
		case k.has == service.Unsure && k.head:
			unknown = append(unknown, k.host+": "+k.why)
		case k.has != service.Yes || bytes.Equal(k.key, c.key):
		case k.slurm == service.Yes && k.valid():
			return keyChoice{}, refusal(fmt.Sprintf("Slurm runs on %s and on %s with different munge keys: they are two clusters", c.from, k.host),
				"If a rotation of the key was cut off, or a host missed one, run multihead rotate munge. Else decide which one is meant, and stop Slurm on the other hosts; then run up again.")
		default:
			c.aside = append(c.aside, k.host)
		}
	}
	if c.key == nil && len(unknown) > 0 && !(intent.Mode == service.Bootstrap && intent.Confirmed) {
		return keyChoice{}, refusal("no host that answered has a munge key, and it is not known whether one that did not has it ("+strings.Join(unknown, "; ")+")",
			"Bring that head back, or take it out of the file if it is gone for good.")
	}
	if len(c.aside) > 0 {
		c.why = fmt.Sprintf("the munge key of %s becomes that of all hosts; %s had another one, which is kept beside it", c.from, strings.Join(c.aside, ", "))
	}
	return c, nil
}
