package backup

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// dumpOf is a dump as mariadb-dump writes it: statements of as many rows as go into
// most bytes.
func dumpOf(most int, tables ...[]string) string {
	var b strings.Builder
	b.WriteString("/*!40103 SET TIME_ZONE='+00:00' */;\nCREATE DATABASE `d`;\n\nUSE `d`;\n")
	for i, rows := range tables {
		fmt.Fprintf(&b, "CREATE TABLE `t%d` (`x` text\n) ENGINE=InnoDB;\n\n", i)
		n := 0
		for k, r := range rows {
			if n == 0 {
				fmt.Fprintf(&b, "INSERT INTO `t%d` VALUES\n", i)
			}
			n += len(r) + 2
			if k == len(rows)-1 || n+len(rows[k+1]) > most {
				b.WriteString(r + ";\n")
				n = 0
			} else {
				b.WriteString(r + ",\n")
			}
		}
	}
	b.WriteString("/*!40103 SET TIME_ZONE=@OLD_TIME_ZONE */;\n")
	return b.String()
}

func randomRows(rnd *rand.Rand, n, longest int) []string {
	out := make([]string, n)
	for i := range out {
		text := make([]byte, rnd.IntN(longest)+1)
		for k := range text {
			text[k] = "abcdefgh,;()\""[rnd.IntN(13)]
		}
		out[i] = fmt.Sprintf("(%d,'%s')", i, text)
	}
	return out
}

func statements(dump string) []string {
	all := strings.SplitAfter(dump, ";\n")
	return slices.DeleteFunc(all, func(s string) bool { return !strings.HasPrefix(strings.TrimSpace(s), "INSERT") })
}

func TestRowsAreTheSameInOtherStatements(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	tables := [][]string{randomRows(rnd, 4000, 1000), nil, {"(1,NULL)"}, randomRows(rnd, 60, 200_000), randomRows(rnd, 3, 3<<20), randomRows(rnd, 5, 20)}
	for k := range 8 { // rows that end just where the reader's buffer does
		tables = append(tables, []string{"(0,'" + strings.Repeat("x", 1<<20-4-k) + "')", "(1,'y')"})
	}
	want := dumpOf(1<<20, tables...)
	got, _, err := take(want, "d")
	if err != nil {
		t.Fatal(err)
	}
	was, err := readTables(strings.NewReader(tablesPart(want)))
	if err != nil {
		t.Fatal(err)
	}
	is, err := readTables(strings.NewReader(got["d"]))
	if err != nil || !was.equal(is, true) || was.data != is.data {
		t.Errorf("%v: %v, want %v", err, is, was)
	}
	if flat(got["d"]) != flat(want) {
		t.Error("the rows are others")
	}
	for _, s := range statements(got["d"]) {
		if len(s) > mostStatement+100 && strings.Count(s, "\n") > 2 {
			t.Errorf("a statement of %d bytes has %d rows", len(s), strings.Count(s, "\n")-1)
		}
	}
	// What was written is written again as it is.
	again, _, err := take("CREATE DATABASE `d`;\n"+strings.TrimPrefix(got["d"], "/*!40103 SET TIME_ZONE='+00:00' */;\n")+"/*!40103 SET TIME_ZONE=@OLD_TIME_ZONE */;\n", "d")
	if err != nil || "/*!40103 SET TIME_ZONE='+00:00' */;\n"+again["d"] != got["d"] {
		t.Errorf("%v: it is cut otherwise the second time", err)
	}
}

// tablesPart is a dump from its first table on.
func tablesPart(dump string) string {
	_, rest, _ := strings.Cut(dump, "CREATE TABLE")
	return "CREATE TABLE" + rest
}

// flat is the rows and definitions of a dump, without how many stand in a statement.
func flat(dump string) string {
	var out bytes.Buffer
	for line := range strings.Lines(tablesPart(dump)) {
		switch {
		case strings.HasPrefix(line, "INSERT"), strings.HasPrefix(line, "/*!40103"):
		case strings.HasPrefix(line, "("):
			out.WriteString(line[:len(line)-2] + "\n")
		default:
			out.WriteString(line)
		}
	}
	return out.String()
}

func TestARowThatWentChangesFewStatements(t *testing.T) {
	rows := make([]string, 20_000) // all as long: mariadb-dump would cut no statement where it did before
	rnd := rand.New(rand.NewPCG(3, 4))
	for i := range rows {
		rows[i] = fmt.Sprintf("(%06d,'%01000x')", i, rnd.Uint64())
	}
	before, _, err := take(dumpOf(1<<20, rows), "d")
	if err != nil {
		t.Fatal(err)
	}
	after, _, err := take(dumpOf(1<<20, rows[1:]), "d")
	if err != nil {
		t.Fatal(err)
	}
	known, fresh := map[string]bool{}, 0
	for _, s := range statements(before["d"]) {
		known[s] = true
	}
	all := statements(after["d"])
	for _, s := range all {
		if !known[s] {
			fresh++
		}
	}
	if len(all) < 20 || fresh > 4 {
		t.Errorf("%d of %d statements are others after one row went", fresh, len(all))
	}
}

func TestWhatIsNoRowEndsTheDump(t *testing.T) {
	whole := dumpOf(1<<20, []string{"(1,'a')", "(2,'b')"})
	for _, broken := range []string{
		strings.Replace(whole, "(2,'b');\n", "", 1),
		strings.Replace(whole, "(2,'b')", "2,'b')", 1),
		strings.Replace(whole, "(2,'b');", "(2,'b')", 1),
		strings.Replace(whole, "(2,'b');", "\n", 1),
	} {
		if _, _, err := take(broken, "d"); err == nil {
			t.Errorf("%q is taken for whole", broken)
		}
	}
}

func TestTheSnapshotsIDIsReadFromWhatResticSays(t *testing.T) {
	id := strings.Repeat("ab", 32)
	for said, want := range map[string]string{
		"{\"message_type\":\"status\"}\n{\"message_type\":\"summary\",\"snapshot_id\":\"" + id + "\"}\n": id,
		"{\"message_type\":\"summary\",\"snapshot_id\":\"0c263ae4\"}\n":                                  "",
		"{\"message_type\":\"status\",\"snapshot_id\":\"" + id + "\"}\n":                                 "",
		"": "", "saved\n": "",
	} {
		if got := savedAs([]byte(said)); got != want {
			t.Errorf("%q: %q, want %q", said, got, want)
		}
	}
}
