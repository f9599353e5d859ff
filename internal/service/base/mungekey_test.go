package base

import (
	"bytes"
	"strings"
	"testing"

	"multihead/internal/service"
)

func TestChooseKey(t *testing.T) {
	keyOf := func(b byte) []byte { return bytes.Repeat([]byte{b}, 128) }
	has := func(host string, b byte) keyring {
		return keyring{host: host, head: strings.HasPrefix(host, "h"), key: keyOf(b), has: service.Yes, slurm: service.No}
	}
	no := func(host string) keyring {
		return keyring{host: host, head: strings.HasPrefix(host, "h"), has: service.No, slurm: service.No}
	}
	unsure := func(host string) keyring {
		return keyring{host: host, head: strings.HasPrefix(host, "h"), why: "timed out"}
	}
	live := func(k keyring) keyring { k.slurm = service.Yes; return k }
	short := has("h1", 1)
	short.key = short.key[:16]
	for _, c := range []struct {
		name    string
		hosts   []keyring
		intent  service.Intent
		from    string
		aside   string
		refused string
	}{
		{"nobody has one: a new one", []keyring{no("h1"), no("h2"), no("n1")}, service.Intent{}, "", "", ""},
		{"one host has one: it is adopted", []keyring{no("h1"), no("h2"), has("n1", 3)}, service.Intent{}, "n1", "", ""},
		{"the same everywhere", []keyring{has("h1", 1), has("h2", 1)}, service.Intent{}, "h1", "", ""},
		{"each its own: the first head's wins", []keyring{has("n1", 3), has("h1", 1), has("h2", 2)}, service.Intent{}, "h1", "n1 h2", ""},
		{"the key of a running Slurm wins", []keyring{has("h1", 1), live(has("h2", 2)), has("n1", 2)}, service.Intent{}, "h2", "h1", ""},
		{"a running compute node's too", []keyring{has("h1", 1), live(has("n1", 2))}, service.Intent{}, "n1", "h1", ""},
		{"two running Slurms", []keyring{live(has("h1", 1)), live(has("h2", 2))}, service.Intent{}, "", "", "two clusters"},
		{"a key too short to work is no key", []keyring{short, has("h2", 2)}, service.Intent{}, "h2", "h1", ""},
		{"a head that is not known, and nobody has one", []keyring{no("h1"), unsure("h2")}, service.Intent{}, "", "", "h2: timed out"},
		{"the same, confirmed", []keyring{no("h1"), unsure("h2")}, service.Intent{Mode: service.Bootstrap, Confirmed: true}, "", "", ""},
		{"a head that is not known, and another has one", []keyring{has("h1", 1), unsure("h2")}, service.Intent{}, "h1", "", ""},
		{"a compute node that is not known", []keyring{no("h1"), unsure("n1")}, service.Intent{}, "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := chooseKey(c.hosts, c.intent)
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Fatalf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.from != c.from || strings.Join(got.aside, " ") != c.aside || (got.key == nil) != (c.from == "") {
				t.Errorf("got from %q aside %v", got.from, got.aside)
			}
		})
	}
}
