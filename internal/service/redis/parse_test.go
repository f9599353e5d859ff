package redis

import (
	"encoding/hex"
	"reflect"
	"slices"
	"testing"
)

const (
	idA = "07c37dfeb235213a872192d90877d0cd55635b91"
	idB = "67ed2db8d677e59ec4a4cefb06858cf2a1a89fa1"
)

func TestParseNodes(t *testing.T) {
	nodes, err := parseNodes(idA + " 192.0.2.11:6379@16379 myself,master - 0 1426238317239 4 connected 0-5460 7000 [9->-" + idB + "] [10-<-" + idB + "]\n" +
		idB + " 192.0.2.12:6380@16380,host-2,shard-id=1 slave,fail? " + idA + " 0 1 3 disconnected\n" +
		"6ec23923021cf3ffec47632106199cb7f496ce01 :0@0 handshake - 0 0 0 disconnected\n" +
		"292f8b365bb7edb5e285caf0b7e6ddc7265d2f4f [2001:db8::1]:6379@16379 master,fail - 0 0 9 connected\n" +
		"vars currentEpoch 6 lastVoteEpoch 0\n")
	if err != nil || len(nodes) != 4 {
		t.Fatalf("%d nodes, %v", len(nodes), err)
	}
	me, ok := myself(nodes)
	if !ok || me.Slots.count() != 5462 || !me.Slots.has(7000) || me.Epoch != 4 {
		t.Errorf("myself: %v %d slots, epoch %d", ok, me.Slots.count(), me.Epoch)
	}
	if want := []openSlot{{9, idB, false}, {10, idB, true}}; !reflect.DeepEqual(me.Open, want) {
		t.Errorf("open slots %v", me.Open)
	}
	if n, ok := byAddr(nodes, "192.0.2.12:6380"); !ok || n.MasterID != idA || n.Connected || n.failed() {
		t.Errorf("replica: %+v, %v", n, ok)
	}
	if nodes[2].known() || nodes[2].Addr != "" {
		t.Errorf("a handshake counts as known: %+v", nodes[2])
	}
	if nodes[3].Addr != "[2001:db8::1]:6379" || !nodes[3].failed() {
		t.Errorf("IPv6: %+v", nodes[3])
	}
}

func TestParseNodesRefusesWhatItDoesNotUnderstand(t *testing.T) {
	for _, bad := range []string{
		"short line\n",
		"zz a:1@2 master - 0 0 0 connected\n",
		idA + " a:1@2 master - 0 0 x connected\n",
		idA + " a:1@2 master - 0 0 0 connected 16384\n",
		idA + " a:1@2 master - 0 0 0 connected 9-3\n",
		idA + " a:1@2 master - 0 0 0 connected [3->-\n",
	} {
		if _, err := parseNodes(bad); err == nil {
			t.Errorf("accepted %q", bad)
		}
	}
}

func TestInfoCountsKeysPerDatabase(t *testing.T) {
	i := parseInfo("# Server\r\nredis_version:8.0.2\r\n# Keyspace\r\ndb0:keys=5,expires=0,avg_ttl=0\r\ndb3:keys=1,expires=0\r\ndbx:keys=1\r\n")
	if i["redis_version"] != "8.0.2" || !reflect.DeepEqual(i.keys(), map[int]int{0: 5, 3: 1}) {
		t.Errorf("%v %v", i, i.keys())
	}
}

func TestBytesOf(t *testing.T) {
	for in, want := range map[string]int64{"": 0, "100": 100, "1k": 1000, "1KB": 1024, "100mb": 100 << 20, "2gb": 2 << 30, "3g": 3e9} {
		if got, ok := bytesOf(in); !ok || got != want {
			t.Errorf("%q = %d, %v; want %d", in, got, ok, want)
		}
	}
	for _, bad := range []string{"x", "2tb", "-1", "1.5gb", "99999999999999gb"} {
		if got, ok := bytesOf(bad); ok {
			t.Errorf("%q read as %d", bad, got)
		}
	}
}

func TestRangesOf(t *testing.T) {
	if got := showRanges(rangesOf([]int{0, 1, 2, 7, 9, 10})); got != "0-2 7 9-10" {
		t.Error(got)
	}
}

// What Redis 7.0.15 wrote when it had never held a key, and the beginning of
// what it wrote with one.
const emptyRDB = "524544495330303130fa0972656469732d76657206372e302e3135fa0a72656469732d62697473c040fa056374696d65c2c8b9c065fa08757365642d6d656dc2d0e10e00fa08616f662d62617365c001ff0000000000000000"

func TestPeekRDB(t *testing.T) {
	empty, _ := hex.DecodeString(emptyRDB)
	h, err := peekRDB(empty)
	if err != nil || !h.Empty {
		t.Errorf("empty: %+v, %v", h, err)
	}
	full := append([]byte{}, empty[:len(empty)-9]...)
	full = append(full, 0xFA, 7)
	full = append(full, "repl-id"...)
	full = append(full, 40)
	full = append(full, idA...)
	full = append(full, 0xFE, 0, 0xFB, 1, 0)
	if h, err := peekRDB(full); err != nil || h.Empty || h.ReplID != idA {
		t.Errorf("with a key: %+v, %v", h, err)
	}
	for _, bad := range [][]byte{nil, []byte("REDIS"), []byte("REDIS0010"), []byte("REDISxxxx\xff"), append([]byte("REDIS0010"), 0xFA, 0x3f)} {
		if h, err := peekRDB(bad); err == nil {
			t.Errorf("%q: %+v", bad, h)
		}
	}
}

func FuzzParseNodes(f *testing.F) {
	f.Add(idA + " 192.0.2.11:6379@16379 myself,master - 0 1 4 connected 0-5460 [9->-" + idB + "]\n")
	f.Add("vars currentEpoch 6\n")
	f.Fuzz(func(t *testing.T, s string) {
		nodes, err := parseNodes(s)
		if err != nil {
			return
		}
		for _, n := range nodes {
			var all slotSet
			all.addAll(n.Slots)
			if got := n.Slots.list(); !slices.Equal(got, all.list()) || len(got) != n.Slots.count() {
				t.Fatal("slots do not add up")
			}
		}
	})
}

func FuzzParseInfo(f *testing.F) {
	f.Add("# a\r\ndb0:keys=1,expires=2\r\nrole:master\r\n")
	f.Fuzz(func(t *testing.T, s string) {
		for db, n := range parseInfo(s).keys() {
			if n <= 0 {
				t.Fatalf("db%d has %d keys", db, n)
			}
		}
	})
}

func FuzzPeekRDB(f *testing.F) {
	b, _ := hex.DecodeString(emptyRDB)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := peekRDB(b); err != nil && h.Empty {
			t.Fatal("empty, and an error")
		}
	})
}
