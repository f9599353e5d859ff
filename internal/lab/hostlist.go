package lab

import (
	"fmt"
	"strconv"
	"strings"
)

// ExpandHosts reads a list such as "server1,node[001-003,7]" into names. It
// is the lab's own small reader: one bracket in a name, at most a thousand
// names.
func ExpandHosts(list string) ([]string, error) {
	var names []string
	for _, item := range splitOutside(list) {
		prefix, rest, ok := strings.Cut(item, "[")
		if !ok {
			if item == "" || strings.ContainsAny(item, "] \t") {
				return nil, fmt.Errorf("host list %q: write it like server1,server2 or server[1-3]", list)
			}
			names = append(names, item)
			continue
		}
		ranges, suffix, ok := strings.Cut(rest, "]")
		if !ok || strings.ContainsAny(suffix, "[]") {
			return nil, fmt.Errorf("host list %q: a bracket is not closed, or there are two", list)
		}
		for part := range strings.SplitSeq(ranges, ",") {
			more, err := expandRange(prefix, part, suffix)
			if err != nil {
				return nil, fmt.Errorf("host list %q: %w", list, err)
			}
			names = append(names, more...)
		}
		if len(names) > 1000 {
			return nil, fmt.Errorf("host list %q: more than 1000 names", list)
		}
	}
	return names, nil
}

func expandRange(prefix, part, suffix string) ([]string, error) {
	from, to, ok := strings.Cut(part, "-")
	if !ok {
		to = from
	}
	a, err1 := strconv.ParseUint(from, 10, 31)
	b, err2 := strconv.ParseUint(to, 10, 31)
	if err1 != nil || err2 != nil || b < a || b-a > 1000 {
		return nil, fmt.Errorf("range %q: write it like 1-3", part)
	}
	var names []string
	for n := a; n <= b; n++ {
		names = append(names, fmt.Sprintf("%s%0*d%s", prefix, len(from), n, suffix))
	}
	return names, nil
}

// splitOutside splits at commas that are not in brackets.
func splitOutside(s string) []string {
	var parts []string
	depth, start := 0, 0
	for i, c := range s {
		switch {
		case c == '[':
			depth++
		case c == ']':
			depth--
		case c == ',' && depth <= 0:
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	return append(parts, s[start:])
}
