// Package hostlist reads and writes sets of hostnames in the notation that
// Slurm's tools use: server[1-3,5],login1.
package hostlist

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
)

// MaxHosts bounds what one list may stand for, so that a typing error such as
// node[1-9999999999] is an error and not the end of memory.
const MaxHosts = 65536

// Error is a list that cannot be read. Offset is in bytes.
type Error struct {
	Offset int
	Reason string
}

func (e *Error) Error() string { return e.Reason }

func bad(offset int, format string, args ...any) error {
	return &Error{offset, fmt.Sprintf(format, args...)}
}

// Expand returns the hostnames a list stands for, in the order written,
// repeated ones once. Numbers keep their leading zeros: node[008-010] is
// node008, node009, node010. Several brackets in one name multiply:
// rack[1-2]n[1-2].
func Expand(list string) ([]string, error) {
	var out []string
	seen := make(map[string]bool)
	parts, err := split(list)
	if err != nil {
		return nil, err
	}
	for _, p := range parts {
		names, err := expandOne(p.text, p.offset)
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			if !seen[n] {
				seen[n] = true
				out = append(out, n)
			}
		}
		if len(out) > MaxHosts {
			return nil, bad(p.offset, "the list stands for more than %d hosts", MaxHosts)
		}
	}
	return out, nil
}

type part struct {
	text   string
	offset int
}

// split cuts at the commas that are outside brackets.
func split(list string) ([]part, error) {
	var parts []part
	start, open := 0, -1
	add := func(end int) error {
		text := list[start:end]
		trimmed := strings.TrimLeft(text, " \t\n")
		offset := start + len(text) - len(trimmed)
		trimmed = strings.TrimRight(trimmed, " \t\n")
		if trimmed == "" {
			return bad(offset, "there is no name between the commas")
		}
		parts = append(parts, part{trimmed, offset})
		return nil
	}
	for i := range len(list) {
		switch list[i] {
		case '[':
			if open >= 0 {
				return nil, bad(i, "[ inside [")
			}
			open = i
		case ']':
			if open < 0 {
				return nil, bad(i, "] without [")
			}
			open = -1
		case ',':
			if open < 0 {
				if err := add(i); err != nil {
					return nil, err
				}
				start = i + 1
			}
		}
	}
	if open >= 0 {
		return nil, bad(open, "[ without ]")
	}
	if err := add(len(list)); err != nil {
		return nil, err
	}
	return parts, nil
}

// expandOne expands one name, brackets from left to right.
func expandOne(name string, offset int) ([]string, error) {
	out := []string{""}
	for name != "" {
		i := strings.IndexByte(name, '[')
		if i < 0 {
			i = len(name)
		}
		literal := name[:i]
		if j := strings.IndexFunc(literal, notInName); j >= 0 {
			return nil, bad(offset+j, "%q cannot be in a hostname", string([]rune(literal[j:])[0]))
		}
		for k := range out {
			out[k] += literal
		}
		name, offset = name[i:], offset+i
		if name == "" {
			break
		}
		end := strings.IndexByte(name, ']')
		numbers, err := expandRanges(name[1:end], offset+1)
		if err != nil {
			return nil, err
		}
		if len(out)*len(numbers) > MaxHosts {
			return nil, bad(offset, "the list stands for more than %d hosts", MaxHosts)
		}
		next := make([]string, 0, len(out)*len(numbers))
		for _, o := range out {
			for _, n := range numbers {
				next = append(next, o+n)
			}
		}
		out = next
		name, offset = name[end+1:], offset+end+1
	}
	return out, nil
}

func notInName(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
		return false
	}
	return true
}

// expandRanges expands the inside of brackets: 1-3,005.
func expandRanges(s string, offset int) ([]string, error) {
	var out []string
	for r := range strings.SplitSeq(s, ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(r), "-")
		if !isRange {
			last = first
		}
		lo, err1 := number(first)
		hi, err2 := number(last)
		switch {
		case err1 != nil || err2 != nil:
			return nil, bad(offset, "%q is neither a number nor a range of numbers", r)
		case hi < lo:
			return nil, bad(offset, "the range %s ends before it starts", r)
		case len(last) < len(first):
			return nil, bad(offset, "the range %s has fewer digits at its end than at its start", r)
		case hi-lo >= MaxHosts || len(out)+int(hi-lo) >= MaxHosts:
			return nil, bad(offset, "the range %s stands for more than %d hosts", r, MaxHosts)
		}
		for n := lo; n <= hi; n++ {
			out = append(out, fmt.Sprintf("%0*d", len(first), n))
		}
		offset += len(r) + 1
	}
	return out, nil
}

// number reads digits only; strconv would take a sign as well.
func number(s string) (uint64, error) {
	if s == "" || len(s) > 18 || strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' }) >= 0 {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseUint(s, 10, 64)
}

// Compress writes hostnames as one list, sorted by name and number, repeated
// ones once. Expand gives the same set back.
func Compress(hosts []string) string {
	groups := make(map[stem][]string)
	var order []stem
	for _, h := range hosts {
		s, digits := cut(h)
		if _, ok := groups[s]; !ok {
			order = append(order, s)
		}
		groups[s] = append(groups[s], digits)
	}
	sort.Slice(order, func(i, j int) bool { return order[i].less(order[j]) })
	parts := make([]string, 0, len(order))
	for _, s := range order {
		if s.numbered {
			parts = append(parts, s.prefix+ranges(groups[s])+s.suffix)
		} else {
			parts = append(parts, s.prefix)
		}
	}
	return strings.Join(parts, ",")
}

// stem is a hostname around its last number.
type stem struct {
	prefix, suffix string
	numbered       bool
}

func (s stem) less(t stem) bool {
	if s.prefix != t.prefix {
		return s.prefix < t.prefix
	}
	if s.suffix != t.suffix {
		return s.suffix < t.suffix
	}
	return !s.numbered && t.numbered
}

// cut splits a hostname at its last number.
func cut(host string) (stem, string) {
	isDigit := func(b byte) bool { return b >= '0' && b <= '9' }
	end := len(host)
	for end > 0 && !isDigit(host[end-1]) {
		end--
	}
	start := end
	for start > 0 && isDigit(host[start-1]) {
		start--
	}
	digits := host[start:end]
	if _, err := number(digits); err != nil {
		return stem{prefix: host}, ""
	}
	return stem{prefix: host[:start], suffix: host[end:], numbered: true}, digits
}

// ranges writes numbers as [1-3,007], or as they are when there is only one.
func ranges(digits []string) string {
	sort.Slice(digits, func(i, j int) bool {
		a, _ := number(digits[i])
		b, _ := number(digits[j])
		if a != b {
			return a < b
		}
		return len(digits[i]) < len(digits[j])
	})
	var runs []string
	for i := 0; i < len(digits); {
		first := digits[i]
		n, _ := number(first)
		last := first
		j := i + 1
		for ; j < len(digits); j++ {
			if digits[j] == last {
				continue
			}
			// Expand pads every number of a range to the width of the first.
			if digits[j] != fmt.Sprintf("%0*d", len(first), n+1) {
				break
			}
			n, last = n+1, digits[j]
		}
		if last == first {
			runs = append(runs, first)
		} else {
			runs = append(runs, first+"-"+last)
		}
		i = j
	}
	if len(runs) == 1 && !strings.Contains(runs[0], "-") {
		return runs[0]
	}
	return "[" + strings.Join(runs, ",") + "]"
}
