package lab

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestAddressPlan(t *testing.T) {
	spec, err := Spec{Heads: 2, Compute: 2, Witness: 1, Spare: 1, Logins: map[string]Login{"server2": LoginAdmin}}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range spec.hosts() {
		got = append(got, h.Name+" "+string(h.Kind)+" "+h.Address.String()+" "+string(h.Login))
	}
	want := []string{
		"server1 head 192.0.2.11 root",
		"server2 head 192.0.2.12 admin",
		"spare1 spare 192.0.2.31 root",
		"node001 compute 192.0.2.101 root",
		"node002 compute 192.0.2.102 root",
		"witness1 witness 192.0.2.201 root",
	}
	if !slices.Equal(got, want) {
		t.Errorf("hosts:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestAddressPlanHasNoClash(t *testing.T) {
	full := Spec{Login: LoginRoot}
	for _, p := range plan {
		switch p.kind {
		case Head:
			full.Heads = p.room
		case Compute:
			full.Compute = p.room
		case Witness:
			full.Witness = p.room
		case Spare:
			full.Spare = p.room
		}
	}
	seen := map[string]string{Outside: "the bridge", VIP: "the VIP", "192.0.2.0": "the network", "192.0.2.255": "broadcast"}
	for _, h := range full.hosts() {
		if who, taken := seen[h.Address.String()]; taken {
			t.Errorf("%s has the address of %s", h.Name, who)
		}
		seen[h.Address.String()] = h.Name
	}
	if want := 4 + 10 + 90 + 9 + 10; len(seen) != want {
		t.Errorf("%d addresses, want %d", len(seen), want)
	}
}

func TestSpecTellsEveryMistakeAtOnce(t *testing.T) {
	_, err := Spec{Name: "Lab!", Image: "sid", Heads: 11, Compute: -1, Data: 1, Login: "guest",
		Logins: map[string]Login{"server99": LoginRoot}}.withDefaults()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{`"Lab!"`, `"sid"`, "room for 10", "negative", "64 MiB", `"guest"`, `"server99"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("nothing about %s in:\n%v", want, err)
		}
	}
}

func TestGrow(t *testing.T) {
	old, err := Spec{Heads: 2, Logins: map[string]Login{"server2": LoginOps}}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		in      Spec
		wantErr string
		logins  map[string]Login
	}{
		"same":                       {in: Spec{Heads: 2}, logins: map[string]Login{"server1": LoginRoot, "server2": LoginOps}},
		"one more":                   {in: Spec{Heads: 3}, logins: map[string]Login{"server1": LoginRoot, "server2": LoginOps, "server3": LoginRoot}},
		"one more, with a login":     {in: Spec{Heads: 3, Login: LoginAdmin}, logins: map[string]Login{"server1": LoginRoot, "server2": LoginOps, "server3": LoginAdmin}},
		"another kind":               {in: Spec{Heads: 2, Witness: 1}, logins: map[string]Login{"server1": LoginRoot, "server2": LoginOps, "witness1": LoginRoot}},
		"fewer would lose disks":     {in: Spec{Heads: 1}, wantErr: "has 2 head hosts, not 1"},
		"another image is no growth": {in: Spec{Heads: 2, Image: "bare"}, wantErr: "has image trixie, not bare"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in, err := tt.in.withDefaults()
			if err != nil {
				t.Fatal(err)
			}
			got, err := in.grow(old)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Fatalf("error %v, want %q", err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			logins := map[string]Login{}
			for _, h := range got.hosts() {
				logins[h.Name] = h.Login
			}
			if !maps.Equal(logins, tt.logins) {
				t.Errorf("logins %v, want %v", logins, tt.logins)
			}
		})
	}
}

func TestParseSize(t *testing.T) {
	good := map[string]int64{"1": 1, "64M": 64 << 20, "4G": 4 << 30, "4GiB": 4 << 30, "2t": 2 << 40, "512k": 512 << 10}
	for in, want := range good {
		if got, err := ParseSize(in); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "G", "-1G", "0", "1.5G", "4X", "4 G", "99999999999T", "0x10", "+4G"} {
		if got, err := ParseSize(in); err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", in, got)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"4G", "64MiB", "9223372036854775807", "1K"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := ParseSize(s); err == nil && n <= 0 {
			t.Errorf("ParseSize(%q) = %d", s, n)
		}
	})
}
