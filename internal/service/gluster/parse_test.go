package gluster

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"multihead/internal/host/hosttest"
)

func read(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestStoreIsReadWithoutItsPassword(t *testing.T) {
	v := parseVolume([]byte(read(t, "volume-info.txt")))
	if v.ID == "" || v.Status != volStarted || v.Replica != 4 || len(v.Bricks) != 4 {
		t.Errorf("%+v", v)
	}
	if !v.has(brickAt("192.0.2.13", "/data/glusterfs/brick")) || v.has(brickAt("192.0.2.15", "/data/glusterfs/brick")) {
		t.Errorf("bricks %v", v.Bricks)
	}
	if v.Options["network.ping-timeout"] != "3" {
		t.Errorf("options %v", v.Options)
	}
	for name, value := range v.Options {
		if name == "username" || name == "password" || strings.HasPrefix(value, "00000000-0000-0000-0000-00000000000") {
			t.Errorf("glusterd's own credentials are kept: %s", name)
		}
	}
}

func TestRepliesOfTheCommand(t *testing.T) {
	rep, err := parseReply(read(t, "heal-summary.xml"))
	pending, splits, silent := healOf(rep)
	if err != nil || len(rep.Heal) != 4 || pending+splits+len(silent) != 0 {
		t.Errorf("%+v %v", rep.Heal, err)
	}
	for file, words := range map[string]string{"probe-failed.xml": "Transport endpoint is not connected", "no-volume.xml": "Volume does not exist"} {
		_, err := parseReply(read(t, file))
		var said *cliError
		if !errors.As(err, &said) || !strings.Contains(said.Said, words) || busy(err) {
			t.Errorf("%s: %v", file, err)
		}
	}
	_, err = parseReply(`<cliOutput><opRet>-1</opRet><opErrno>30802</opErrno><opErrstr>Another transaction is in progress for shared_data. Please try again after some time.</opErrstr></cliOutput>`)
	if !busy(err) {
		t.Errorf("not taken for busy: %v", err)
	}
}

func TestHealCountsOnlyBricksThatAnswer(t *testing.T) {
	rep, err := parseReply(`<cliOutput><healInfo><bricks>
		<brick><name>a:/b</name><status>Connected</status>` + healCounts("7", "5", "2", "0") + `</brick>
		<brick><name>c:/b</name><status>Transport endpoint is not connected</status>` + healCounts("-", "-", "-", "-") + `</brick>
		</bricks></healInfo></cliOutput>`)
	left, splits, silent := healOf(rep)
	if err != nil || left != 5 || splits != 2 || len(silent) != 1 {
		t.Errorf("%d %d %v %v", left, splits, silent, err)
	}
}

// healCounts are a brick's counts as a heal summary has them; one that is empty is not
// there.
func healCounts(total, pending, splits, possibly string) string {
	out := ""
	for _, c := range [][2]string{{"totalNumberOfEntries", total}, {"numberOfEntriesInHealPending", pending},
		{"numberOfEntriesInSplitBrain", splits}, {"numberOfEntriesPossiblyHealing", possibly}} {
		if c[1] != "" {
			out += "<" + c[0] + ">" + c[1] + "</" + c[0] + ">"
		}
	}
	return out
}

// A file that is being copied is locked, and counts as possibly healing alone.
func TestAHealIsOverWhenNothingIsCopiedEither(t *testing.T) {
	for name, tt := range map[string]struct {
		counts string
		left   int
		silent bool
	}{
		"nothing":                           {healCounts("0", "0", "0", "0"), 0, false},
		"one waits":                         {healCounts("1", "1", "0", "0"), 1, false},
		"one is being copied":               {healCounts("1", "0", "0", "1"), 1, false},
		"of one it is not said what it is":  {healCounts("1", "0", "0", "0"), 1, false},
		"one is in split-brain":             {healCounts("1", "0", "1", "0"), 0, false},
		"all of them":                       {healCounts("6", "1", "2", "3"), 4, false},
		"no word of what is being copied":   {healCounts("0", "0", "0", ""), 0, true},
		"no word of what waits":             {healCounts("0", "", "0", "0"), 0, true},
		"no word of how many there are":     {healCounts("", "0", "0", "0"), 0, true},
		"no word of those in split-brain":   {healCounts("0", "0", "", "0"), 0, true},
		"what is being copied is no number": {healCounts("0", "0", "0", "-"), 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			rep, err := parseReply(`<cliOutput><healInfo><bricks><brick><name>a:/b</name><status>Connected</status>` + tt.counts + `</brick></bricks></healInfo></cliOutput>`)
			left, _, silent := healOf(rep)
			if err != nil || left != tt.left || len(silent) > 0 != tt.silent {
				t.Errorf("%d left, silent %v (%v)", left, silent, err)
			}
		})
	}
}

func TestClientsFollowOnlyWhenAllBricksHaveThemAll(t *testing.T) {
	rep, err := parseReply(read(t, "clients.xml"))
	if err != nil {
		t.Fatal(err)
	}
	if ok, lag := follow(rep); !ok {
		t.Errorf("recorded with all clients on all bricks: %s", lag)
	}
	one := rep.Bricks[1].Clients
	rep.Bricks[1].Clients = one[1:]
	if ok, lag := follow(rep); ok || !strings.Contains(lag, "brick on "+rep.Bricks[1].Host) {
		t.Errorf("a client is missing on one brick: %v %q", ok, lag)
	}
	rep.Bricks[1].Clients = one
	rep.Bricks[2].Status = 0
	if ok, _ := follow(rep); ok {
		t.Error("a brick is down")
	}
	if ok, _ := follow(reply{}); ok {
		t.Error("an empty answer is no answer")
	}
}

func TestVolumeIDOfABrick(t *testing.T) {
	for in, want := range map[string]string{
		"# file: /data/b\ntrusted.glusterfs.volume-id=0x517601f7cd654007b0fc1c2b077731c8\n\n": volumeID,
		"": "", "trusted.glusterfs.volume-id=0x12": "",
	} {
		if got := parseVolumeID(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestMountTable(t *testing.T) {
	table, err := readMounts(t.Context(), hosttest.New("server1").File("/proc/self/mountinfo", `1 0 8:1 / / rw - ext4 /dev/sda1 rw
2 1 8:2 / /data rw shared:1 - xfs /dev/sdb1 rw
3 1 0:40 / /mnt/gluster rw - fuse.glusterfs 192.0.2.11:/shared_data rw
4 1 0:41 / /mnt/with\040blank rw master:2 - nfs4 nas:/a\040b rw
`))
	if err != nil {
		t.Fatal(err)
	}
	if m, ok := table.at("/mnt/gluster"); !ok || m.Source != "192.0.2.11:/shared_data" || m.FSType != "fuse.glusterfs" {
		t.Errorf("%+v", m)
	}
	if m, ok := table.at("/mnt/with blank"); !ok || m.Source != "nas:/a b" {
		t.Errorf("%+v", m)
	}
	for path, want := range map[string]string{"/data/glusterfs/brick": "/data", "/data": "/data", "/srv/x": "/", "/mnt/glusterfs": "/"} {
		if got := table.holding(path); got != want {
			t.Errorf("%s lies on %s, want %s", path, got, want)
		}
	}
}

func FuzzReply(f *testing.F) {
	for _, name := range []string{"clients.xml", "heal-summary.xml", "probe-failed.xml", "no-volume.xml"} {
		f.Add(read(f, name))
	}
	f.Add("Connection failed. Please check if gluster daemon is operational.")
	f.Fuzz(func(t *testing.T, data string) {
		rep, err := parseReply(data)
		if err == nil && rep.Ret != 0 {
			t.Error("a reply that failed is no error")
		}
		if ok, _ := follow(rep); ok && len(rep.Bricks) == 0 {
			t.Error("no brick, and all follow")
		}
		if pending, splits, _ := healOf(rep); len(rep.Heal) == 0 && pending+splits != 0 {
			t.Error("something to heal on no brick")
		}
	})
}

func FuzzStore(f *testing.F) {
	f.Add(read(f, "volume-info.txt"))
	f.Add("uuid=a\nstate=3\nhostname1=b\nhostname2=c\n")
	f.Add("UUID=a\noperating-version=110000\n")
	f.Fuzz(func(t *testing.T, data string) {
		v := parseVolume([]byte(data))
		if _, kept := v.Options["password"]; kept {
			t.Error("the password is kept")
		}
		for _, b := range v.Bricks {
			if b.Host == "" || !v.has(b) {
				t.Errorf("brick %q", b)
			}
		}
		parsePeer([]byte(data))
		parseUUID([]byte(data))
		if size, used := parseDF(data); used > size {
			t.Errorf("more used than there is: %d of %d", used, size)
		}
	})
}
