package upgrade

import "strings"

// newer says whether version a of a Debian package comes after b, by the rules of
// Debian's policy: epoch, upstream version, revision.
func newer(a, b string) bool { return compare(a, b) > 0 }

func compare(a, b string) int {
	ea, ua, ra := parts(a)
	eb, ub, rb := parts(b)
	if c := compareRun(ea, eb); c != 0 {
		return c
	}
	if c := compareRun(ua, ub); c != 0 {
		return c
	}
	return compareRun(ra, rb)
}

// parts takes a version apart. What is not written is zero.
func parts(v string) (epoch, upstream, revision string) {
	epoch, upstream, ok := strings.Cut(v, ":")
	if !ok {
		epoch, upstream = "0", v
	}
	revision = "0"
	if i := strings.LastIndexByte(upstream, '-'); i >= 0 {
		upstream, revision = upstream[:i], upstream[i+1:]
	}
	return epoch, upstream, revision
}

// compareRun compares texts and numbers by turns. Of two characters ~ is before the
// end, the end before letters, and letters before all others.
func compareRun(a, b string) int {
	for a != "" || b != "" {
		for (a != "" && !digit(a[0])) || (b != "" && !digit(b[0])) {
			if c := rank(a) - rank(b); c != 0 {
				return c
			}
			a, b = rest(a), rest(b)
		}
		var x, y string
		x, a = number(a)
		y, b = number(b)
		if len(x) != len(y) {
			return len(x) - len(y)
		}
		if c := strings.Compare(x, y); c != 0 {
			return c
		}
	}
	return 0
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

func rest(s string) string {
	if s == "" || digit(s[0]) {
		return s
	}
	return s[1:]
}

// rank is the place of a text's first character in the order.
func rank(s string) int {
	switch {
	case s == "" || digit(s[0]):
		return 0
	case s[0] == '~':
		return -1
	case s[0] >= 'a' && s[0] <= 'z' || s[0] >= 'A' && s[0] <= 'Z':
		return int(s[0])
	}
	return int(s[0]) + 256
}

// number takes the digits off the beginning, without leading zeros.
func number(s string) (digits, rest string) {
	n := 0
	for n < len(s) && digit(s[n]) {
		n++
	}
	return strings.TrimLeft(s[:n], "0"), s[n:]
}

// seriesLength is how many numbers of an upstream version name a series, by the source
// package: within one, data and protocols stay what they are, and a step back is a step
// back. Packages of other sources have none.
var seriesLength = map[string]int{"mariadb": 2, "slurm": 2, "glusterfs": 1, "redis": 1}

// series is the series of a version, empty for a package that has none.
func series(source, version string) string {
	for name, n := range seriesLength {
		if source == name || strings.HasPrefix(source, name+"-") {
			_, upstream, _ := parts(version)
			f := strings.SplitN(upstream, ".", n+1)
			if len(f) > n {
				f = f[:n]
			}
			return strings.Join(f, ".")
		}
	}
	return ""
}
