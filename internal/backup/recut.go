package backup

import (
	"bufio"
	"bytes"
	"errors"
	"hash/crc32"
)

// How long the statements of a stored dump are, in bytes. No statement of several
// rows is longer than the most that mariadb-dump writes itself.
const (
	usualStatement = 512 << 10
	mostStatement  = 1 << 20
)

var crcTable = crc32.MakeTable(crc32.Castagnoli)

// recut writes a dump's rows in statements that end where the rows say so.
// mariadb-dump fills each statement to the brim: where one row has gone, or became
// longer, every statement after it begins at another row, and next to nothing of what
// follows would be stored already. Ended by what a row is, statements are the same
// again soon after it.
type recut struct {
	out    *bufio.Writer
	header []byte // of the statements being written: "INSERT INTO `t` VALUES\n"
	within bool   // a row has to come next, of the dump's statement
	open   bool   // a statement of ours has begun
	size   int    // of it
	midRow bool   // of a row that does not fit the reader's buffer
	held   []byte // the end of its last piece, which may be what follows a row
}

var errRows = errors.New("the dump has something else where rows have to be")

// write takes a piece of a dump, no longer than a line; begins says whether a line
// begins with it. Errors of the writer stay with it.
func (r *recut) write(piece []byte, begins bool) error {
	switch {
	case r.midRow:
		return r.long(piece)
	case r.within:
		if !begins || piece[0] != '(' {
			return errRows
		}
		return r.row(piece)
	case begins && bytes.HasPrefix(piece, []byte("INSERT INTO `")) && bytes.HasSuffix(piece, []byte(" VALUES\n")):
		if !bytes.Equal(piece, r.header) {
			r.end()
			r.header = bytes.Clone(piece)
		}
		r.within = true
		return nil
	}
	r.end()
	r.header = nil
	_, _ = r.out.Write(piece)
	return nil
}

// row takes a row, or the first piece of a long one.
func (r *recut) row(piece []byte) error {
	if piece[len(piece)-1] != '\n' { // it has a statement of its own
		r.end()
		r.begin()
		r.midRow = true
		return r.long(piece)
	}
	if len(piece) < 3 {
		return errRows
	}
	row, after := piece[:len(piece)-2], piece[len(piece)-2]
	if r.open && r.size+len(row) > mostStatement {
		r.end()
	}
	if r.open {
		_, _ = r.out.WriteString(",\n")
	} else {
		r.begin()
	}
	_, _ = r.out.Write(row)
	r.size += len(row) + 2
	if endsWith(row) {
		r.end()
	}
	return r.follows(after)
}

// endsWith says whether a statement ends with a row: after usualStatement bytes, on
// average, and by nothing but the row.
func endsWith(row []byte) bool {
	return int(crc32.Checksum(row, crcTable)%usualStatement) < len(row)
}

// long takes a piece of a row that comes in several.
func (r *recut) long(piece []byte) error {
	all := append(r.held, piece...) //nolint:gocritic // a byte before a buffer's worth
	if all[len(all)-1] != '\n' {
		_, _ = r.out.Write(all[:len(all)-1])
		r.held = []byte{all[len(all)-1]}
		return nil
	}
	if len(all) < 2 {
		return errRows
	}
	_, _ = r.out.Write(all[:len(all)-2])
	r.held, r.midRow = nil, false
	r.end()
	return r.follows(all[len(all)-2])
}

// follows takes what stands after a row.
func (r *recut) follows(after byte) error {
	switch after {
	case ',':
	case ';':
		r.within = false
	default:
		return errRows
	}
	return nil
}

func (r *recut) begin() {
	_, _ = r.out.Write(r.header)
	r.open, r.size = true, 0
}

// end ends the statement that is being written.
func (r *recut) end() {
	if r.open {
		_, _ = r.out.WriteString(";\n")
		r.open = false
	}
}

// finish ends what was written; a dump that ends between rows is not whole.
func (r *recut) finish() error {
	r.end()
	if r.within || r.midRow {
		return errRows
	}
	return nil
}
