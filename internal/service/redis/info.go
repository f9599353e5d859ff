package redis

import (
	"strconv"
	"strings"
)

// info is what INFO and CLUSTER INFO answer: one name:value a line.
type info map[string]string

func parseInfo(text string) info {
	out := info{}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(line, "#") {
			continue
		}
		if key, value, ok := strings.Cut(line, ":"); ok {
			out[key] = value
		}
	}
	return out
}

// number is a value as a number; what is none or not there is 0.
func (i info) number(key string) int {
	n, _ := strconv.Atoi(i[key])
	return n
}

// keys counts the keys of every database that has some: "db0:keys=5,expires=0".
func (i info) keys() map[int]int {
	out := map[int]int{}
	for key, value := range i {
		db, err := strconv.Atoi(strings.TrimPrefix(key, "db"))
		if err != nil || !strings.HasPrefix(key, "db") {
			continue
		}
		first, _, _ := strings.Cut(value, ",")
		if n, err := strconv.Atoi(strings.TrimPrefix(first, "keys=")); err == nil && n > 0 {
			out[db] = n
		}
	}
	return out
}

// bytesOf reads a size as Redis writes it (100mb, 2gb, 1000k): k, m, g are
// powers of 1000, kb, mb, gb of 1024.
func bytesOf(size string) (int64, bool) {
	size = strings.ToLower(strings.TrimSpace(size))
	if size == "" {
		return 0, true
	}
	digits := strings.TrimRight(size, "bkmg")
	n, err := strconv.ParseInt(digits, 10, 64)
	unit := map[string]int64{"": 1, "b": 1, "k": 1000, "kb": 1 << 10, "m": 1000 * 1000, "mb": 1 << 20, "g": 1000 * 1000 * 1000, "gb": 1 << 30}
	u, ok := unit[size[len(digits):]]
	if err != nil || !ok || n < 0 || n > (1<<62)/u {
		return 0, false
	}
	return n * u, true
}
