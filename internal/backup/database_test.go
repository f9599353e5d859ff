package backup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

type sink struct{ bytes.Buffer }

func (*sink) Close() error { return nil }

const twoDatabases = "/*!40103 SET TIME_ZONE='+00:00' */;\n\n" +
	"CREATE DATABASE /*!32312 IF NOT EXISTS*/ `a` /*!40100 DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci */;\n\nUSE `a`;\n" +
	"CREATE TABLE `t` (\n  `x` text\n);\nINSERT INTO `t` VALUES\n('USE `b`;\\nCREATE DATABASE `b`;');\n\n" +
	"CREATE DATABASE /*!32312 IF NOT EXISTS*/ `b``c` /*!40100 DEFAULT CHARACTER SET latin1 */;\n\nUSE `b``c`;\n" +
	"CREATE TABLE `u` (`y` int);\n/*!40103 SET TIME_ZONE=@OLD_TIME_ZONE */;\n\n/*!40101 SET SQL_MODE=@OLD_SQL_MODE */;\n"

func take(dump string, names ...string) (map[string]string, []Database, error) {
	list := make([]Database, len(names))
	sinks := map[string]*sink{}
	for i, n := range names {
		list[i].Name = n
	}
	err := split(strings.NewReader(dump), list, func(d Database) (io.WriteCloser, error) {
		sinks[d.Name] = &sink{}
		return sinks[d.Name], nil
	})
	out := map[string]string{}
	for n, s := range sinks {
		out[n] = s.String()
	}
	return out, list, err
}

func TestADumpIsTakenApartByDatabase(t *testing.T) {
	got, list, err := take(twoDatabases, "a", "b`c")
	if err != nil {
		t.Fatal(err)
	}
	preamble := "/*!40103 SET TIME_ZONE='+00:00' */;\n\n"
	for n, want := range map[string]string{
		"a":   preamble + "\nCREATE TABLE `t` (\n  `x` text\n);\nINSERT INTO `t` VALUES\n('USE `b`;\\nCREATE DATABASE `b`;');\n\n",
		"b`c": preamble + "\nCREATE TABLE `u` (`y` int);\n",
	} {
		if got[n] != want {
			t.Errorf("%s: %q, want %q", n, got[n], want)
		}
	}
	for _, d := range list {
		if d.SHA256 != sum([]byte(got[d.Name])) {
			t.Errorf("%s: its checksum is not that of what was written", d.Name)
		}
	}
	if list[0].Create != "DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci" || list[1].Create != "DEFAULT CHARACTER SET latin1" {
		t.Errorf("%+v", list)
	}
	// The same tables under another name give the same checksum: that is how
	// what was loaded is compared.
	first, _, _ := strings.Cut(twoDatabases, "CREATE DATABASE /*!32312 IF NOT EXISTS*/ `b``c`")
	alone := strings.NewReplacer("`a`", "`mh_new_a`").Replace(first)
	again, _, err := take(strings.TrimSuffix(alone, "\n")+"/*!40103 SET TIME_ZONE=@OLD_TIME_ZONE */;\n", "mh_new_a")
	if err != nil {
		t.Fatal(err)
	}
	was, err1 := readTables(strings.NewReader(got["a"]))
	is, err2 := readTables(strings.NewReader(again["mh_new_a"]))
	if err := errors.Join(err1, err2); err != nil || was.sum != is.sum {
		t.Errorf("%v: %q, want %q", err, again["mh_new_a"], got["a"])
	}
}

func TestHowADatabaseWasMadeIsKept(t *testing.T) {
	for line, want := range map[string]string{
		"CREATE DATABASE `a`;\n": "",
		"CREATE DATABASE /*!32312 IF NOT EXISTS*/ `a` /*!40100 DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin */;\n":                    "DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
		"CREATE DATABASE /*!32312 IF NOT EXISTS*/ `a` /*!40100 DEFAULT CHARACTER SET utf8mb4 */ COMMENT 'it''s; \\'odd\\' `here`\\n*/';\n": "DEFAULT CHARACTER SET utf8mb4 COMMENT 'it''s; \\'odd\\' `here`\\n*/'",
	} {
		list := []Database{{Name: "a"}}
		dump := "SET x;\n" + line + "USE `a`;\n/*!40103 SET TIME_ZONE=@OLD_TIME_ZONE */;\n"
		err := split(strings.NewReader(dump), list, func(Database) (io.WriteCloser, error) { return discard{}, nil })
		if err != nil || list[0].Create != want {
			t.Errorf("%q: %q, %v; want %q", line, list[0].Create, err, want)
		}
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) Close() error                { return nil }

func TestADumpThatEndsEarlyIsNotTakenForWhole(t *testing.T) {
	for _, cut := range []int{10, 120, len(twoDatabases) - 150, len(twoDatabases) - 80} {
		if _, _, err := take(twoDatabases[:cut], "a", "b`c"); err == nil {
			t.Errorf("%d of %d bytes are taken for the whole", cut, len(twoDatabases))
		}
	}
	if _, _, err := take(twoDatabases, "a", "x"); err == nil {
		t.Error("a database that was not asked for is taken")
	}
}

func TestALineLongerThanTheBufferStaysOne(t *testing.T) {
	long := strings.Repeat("x", 3<<20)
	dump := strings.Replace(twoDatabases, "('USE", "('"+long+"USE `a`;', 'USE", 1)
	got, _, err := take(dump, "a", "b`c")
	if err != nil || !strings.Contains(got["a"], long+"USE `a`;'") {
		t.Errorf("%v, %d bytes", err, len(got["a"]))
	}
}

func TestEveryMasterIsAskedThroughItsReplica(t *testing.T) {
	const nodes = `aa 10.0.0.1:6379@16379,h1 myself,master - 0 0 1 connected 0-5460
bb 10.0.0.2:6379@16379 master - 0 1 2 connected 5461-10922
cc 10.0.0.3:6379@16379 master - 0 1 3 connected 10923-16383
dd 10.0.0.2:6380@16380 slave aa 0 1 1 connected
ee 10.0.0.3:6380@16380 slave,fail bb 0 1 2 disconnected
ff 10.0.0.1:6380@16380 master - 0 1 4 connected
`
	got, err := redisSources(nodes)
	if err != nil {
		t.Fatal(err)
	}
	want := "[{10.0.0.1:6379 10.0.0.2:6380 } {10.0.0.2:6379 10.0.0.2:6379 } {10.0.0.3:6379 10.0.0.3:6379 }]"
	if fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
	if _, err := redisSources(strings.Replace(nodes, "10.0.0.2:6379@16379 master", "10.0.0.2:6379@16379 master,fail", 1)); err == nil {
		t.Error("a master that is gone with its slots is passed over")
	}
	if _, err := redisSources(""); err == nil {
		t.Error("nothing is taken for a cluster")
	}
}

func TestVersionsAreFoundInWhatDaemonsSay(t *testing.T) {
	for said, want := range map[string]string{
		"mariadbd  Ver 11.8.6-MariaDB-0+deb13u1 from Debian for debian-linux-gnu on x86_64": "11.8.6",
		"Redis server v=8.0.2 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64":                 "8.0.2",
		"slurm-wlm 24.11.5":                       "24.11.5",
		"glusterfs 11.1\nCopyright (c) 2006-2016": "11.1",
		"restic 0.14.0 compiled with go1.19.8":    "0.14.0",
		"nothing":                                 "",
	} {
		if got := versionPattern(said); got != want {
			t.Errorf("%q: %q, want %q", said, got, want)
		}
	}
}
