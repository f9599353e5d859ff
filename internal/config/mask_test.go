package config

import (
	"reflect"
	"strings"
	"testing"
)

func TestWhatOfATextIsSecret(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"a password": {
			"cluster_info:\n  ssh_password: hunter2   # of ops\n  cluster_name: site\n",
			"cluster_info:\n  ssh_password: \"********\"   # of ops\n  cluster_name: site\n",
		},
		"options of a fence agent that are not known to be harmless": {
			"fencing:\n  devices:\n    - {node: s1, agent: fence_apc_snmp, options: {ip: 10.9.0.1, plug: 7, community: s3cr3t, snmp_priv_passwd: 'x, y', identity_file: /root/k}}\n",
			"fencing:\n  devices:\n    - {node: s1, agent: fence_apc_snmp, options: {ip: 10.9.0.1, plug: 7, community: \"********\", snmp_priv_passwd: \"********\", identity_file: \"********\"}}\n",
		},
		"the same on lines of their own, flush": {
			"fencing:\n  devices:\n  - node: s1\n    options:\n      username: ops\n      community: s3cr3t\n      delay: 2\n",
			"fencing:\n  devices:\n  - node: s1\n    options:\n      username: ops\n      community: \"********\"\n      delay: 2\n",
		},
		"the environment":          {"environment: {NAME: value, N: 12345678}\n", "environment: {NAME: \"********\", N: \"********\"}\n"},
		"below a secret's key":     {"extra:\n  tokens:\n    - abc\n    - {of: def}\n", "extra:\n  tokens:\n    - \"********\"\n    - {of: \"********\"}\n"},
		"a number":                 {"cluster_info: {ssh_password: 12345678}\n", "cluster_info: {ssh_password: \"********\"}\n"},
		"over several lines":       {"a:\n  password: one\n    two\n  b: 1\n", "a:\n  password: \"********\"\n  b: 1\n"},
		"a block of text":          {"a:\n  secret_key: |\n    one\n    two\n  b: 1\n", "a:\n  secret_key: \"********\"\n  b: 1\n"},
		"in quotes, several lines": {"a:\n  password: 'one\n    two'\n  b: 1\n", "a:\n  password: \"********\"\n  b: 1\n"},
		"behind an anchor":         {"x: &pw hunter2\na: {password: *pw}\nb: [hunter2, hunter3]\n", "x: \"********\"\na: {password: \"********\"}\nb: [\"********\", hunter3]\n"},
		"merged in": {
			"x: &f {community: s3cr3t, ip: 10.0.0.1}\nfencing: {devices: [{node: s1, options: {<<: *f, plug: 1}}]}\n",
			"x: &f {community: \"********\", ip: 10.0.0.1}\nfencing: {devices: [{node: s1, options: {<<: *f, plug: 1}}]}\n",
		},
		"a comment": {"a: 1\n# password: old\n  # the heads\nb: 2 # passwd=old\n", "a: 1\n# password: ********\n  # the heads\nb: 2 # passwd: ********\n"},
		"nothing":   {"nodes:\n  controllers:\n    # rack 1\n    - {hostname: s1}\n", "nodes:\n  controllers:\n    # rack 1\n    - {hostname: s1}\n"},
		"empty":     {"a: {password: , b: ''}\n", "a: {password: , b: ''}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := WithoutSecrets("c.yaml", []byte(tt.text))
			if err != nil || string(got) != tt.want {
				t.Errorf("%v\n%s\nwant:\n%s", err, got, tt.want)
			}
		})
	}
}

// A secret that cannot be told from what stands around it is shown to nobody.
func TestATextThatCannotBeMaskedIsNotShown(t *testing.T) {
	for _, text := range []string{
		"a: {password: one\n  two, b: 1}\n",
		"passwords:\n  - one\n    two\n",
	} {
		if got, err := WithoutSecrets("c.yaml", []byte(text)); err == nil || strings.Contains(err.Error(), "one") {
			t.Errorf("%v:\n%s", err, got)
		}
	}
}

// Whatever the format calls a secret is one by its name or its place as well.
func TestEverySecretOfTheFormatIsOneInTheText(t *testing.T) {
	seen := 0
	var look func(typ reflect.Type, path string)
	look = func(typ reflect.Type, path string) {
		switch typ.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			if typ.Kind() == reflect.Map && typ.Elem() == reflect.TypeFor[Secret]() && typ != reflect.TypeFor[FenceOptions]() {
				if seen++; path != "environment" {
					t.Errorf("%s holds secrets that WithoutSecrets does not know", path)
				}
			}
			if typ.Elem().Kind() == reflect.Struct {
				look(typ.Elem(), path+"[0]")
			}
		case reflect.Struct:
			for f := range typ.Fields() {
				key, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
				switch {
				case options == "inline":
					look(f.Type, path)
				case key == "" || key == "-":
				case f.Type == reflect.TypeFor[Secret]():
					if seen++; !secretKey(path, key) {
						t.Errorf("%s is a secret that WithoutSecrets does not know", keyPath(path, key))
					}
				default:
					look(f.Type, keyPath(path, key))
				}
			}
		}
	}
	look(reflect.TypeFor[Cluster](), "")
	if seen < 8 {
		t.Errorf("only %d secrets were found in the format", seen)
	}
}

func FuzzWithoutSecrets(f *testing.F) {
	f.Add("a: {password: hunter2-and-more}\n")
	f.Add("x: &p hunter2-and-more\nfencing: {devices: [{options: {a: *p}}]}\n")
	f.Fuzz(func(t *testing.T, text string) {
		out, err := WithoutSecrets("c.yaml", []byte(text))
		if err == nil && !withoutSecrets("c.yaml", out) {
			t.Errorf("%q leaves a secret in %q", text, out)
		}
	})
}
