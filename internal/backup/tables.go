package backup

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
)

// many is "1 row", "2 rows".
func many(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// tables is what a dump of one database has.
type tables struct {
	sum  string           // of definitions and rows, but for the numbers that tables give out next
	data string           // of the rows alone; how many stand in one statement is in neither
	rows map[string]int64 // how many, by table
}

func (t tables) String() string {
	n := int64(0)
	for _, r := range t.rows {
		n += r
	}
	return many(int64(len(t.rows)), "table") + ", " + many(n, "row")
}

var (
	insertLine = regexp.MustCompile("^INSERT INTO `((?:[^`]|``)+)` ")
	createdAs  = regexp.MustCompile("^CREATE TABLE `((?:[^`]|``)+)` ")
	nextNumber = regexp.MustCompile(` AUTO_INCREMENT=\d+`)
)

// readTables counts the rows of a dump that was made with tableOptions.
func readTables(dump io.Reader) (tables, error) {
	t := tables{rows: map[string]int64{}}
	sum, data := sha256.New(), sha256.New()
	both := io.MultiWriter(sum, data)
	table, count := "", rowCounter{}
	err := eachChunk(dump, func(line []byte, begins bool) error {
		switch {
		case count.within:
			t.rows[table] += count.rows(line, both)
			return nil
		case !begins:
		case len(line) == 1, bytes.HasPrefix(line, []byte("/*!")), bytes.HasPrefix(line, []byte("/*M!")):
			return nil // layout, and settings: both as each release of mariadb-dump has them
		case bytes.HasPrefix(line, []byte("INSERT INTO `")):
			if m := insertLine.FindSubmatch(line); m != nil {
				if string(m[1]) != table {
					_, _ = both.Write(m[1]) // a hash takes all
				}
				table, count = string(m[1]), rowCounter{within: true}
				if rest := line[len(m[0]):]; !bytes.HasSuffix(rest, []byte("VALUES\n")) { // else names of columns at most
					t.rows[table] += count.rows(rest, both)
				}
				return nil
			}
		case bytes.HasPrefix(line, []byte(") ENGINE=")):
			line = nextNumber.ReplaceAll(line, nil)
		case bytes.HasPrefix(line, []byte("CREATE TABLE `")):
			if m := createdAs.FindSubmatch(line); m != nil {
				t.rows[string(m[1])] += 0 // it has none
			}
		}
		_, err := sum.Write(line)
		return err
	})
	t.sum, t.data = hex.EncodeToString(sum.Sum(nil)), hex.EncodeToString(data.Sum(nil))
	return t, err
}

// rowCounter counts the rows of one INSERT as it comes, piece by piece.
type rowCounter struct {
	within, quoted, escaped bool // in the statement; in a text; after a backslash
	depth                   int  // of brackets
}

// The rows, without the layout between them, go into sum.
func (c *rowCounter) rows(piece []byte, sum io.Writer) int64 {
	n, from := int64(0), 0 // from is where what is not yet in sum begins
	for i, b := range piece {
		switch {
		case !c.within:
			return n
		case c.escaped:
			c.escaped = false
		case c.quoted && b == '\\':
			c.escaped = true
		case b == '\'':
			c.quoted = !c.quoted
		case c.quoted:
		case b == '(':
			if c.depth++; c.depth == 1 {
				n++
				from = i
			}
		case b == ')':
			if c.depth--; c.depth == 0 {
				_, _ = sum.Write(piece[from : i+1]) // a hash takes all
			}
		case b == ';' && c.depth == 0:
			c.within = false
		}
	}
	if c.depth > 0 {
		_, _ = sum.Write(piece[from:])
	}
	return n
}

// equal says whether two dumps have the same definitions and rows. Where the servers
// are not alike, the rows alone are compared: each writes definitions its own way.
func (t tables) equal(o tables, alike bool) bool {
	return t.sum == o.sum || !alike && t.data == o.data && maps.Equal(t.rows, o.rows)
}

func tablesIn(file string) (tables, error) {
	f, err := os.Open(file)
	if err != nil {
		return tables{}, err
	}
	defer f.Close()
	return readTables(f)
}

// eachChunk gives f a text piece by piece, no piece longer than a line, and says of
// each whether a line begins with it.
func eachChunk(in io.Reader, f func(piece []byte, begins bool) error) error {
	r := bufio.NewReaderSize(in, 1<<20)
	begins := true
	for {
		piece, err := r.ReadSlice('\n')
		if err != nil && err != io.EOF && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		if len(piece) > 0 {
			if ferr := f(piece, begins); ferr != nil {
				return ferr
			}
			begins = piece[len(piece)-1] == '\n'
		}
		if err == io.EOF {
			return nil
		}
	}
}
