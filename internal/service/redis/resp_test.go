package redis

import (
	"bufio"
	"reflect"
	"strings"
	"testing"
)

func TestReadReply(t *testing.T) {
	for _, c := range []struct {
		in   string
		want any
	}{
		{"+OK\r\n", "OK"},
		{"-ERR no\r\n", serverError("ERR no")},
		{":-7\r\n", int64(-7)},
		{"$-1\r\n", nil},
		{"$0\r\n\r\n", ""},
		{"$4\r\na\r\nb\r\n", "a\r\nb"},
		{"*2\r\n$1\r\na\r\n*1\r\n:1\r\n", []any{"a", []any{int64(1)}}},
	} {
		got, err := readReply(bufio.NewReader(strings.NewReader(c.in)), 0)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: got %#v, %v; want %#v", c.in, got, err, c.want)
		}
	}
	for _, bad := range []string{"", "x\r\n", "HTTP/1.1 400\r\n", "+OK\n", "$3\r\nab\r\n", "$99999999999\r\n", "*-2\r\n", ":x\r\n", "\r\n"} {
		if v, err := readReply(bufio.NewReader(strings.NewReader(bad)), 0); err == nil {
			t.Errorf("%q was read as %#v", bad, v)
		}
	}
}

func TestPairsRefusesANameWithoutValue(t *testing.T) {
	if _, err := pairs([]any{"a"}); err == nil {
		t.Error("no error")
	}
}

func FuzzReadReply(f *testing.F) {
	for _, s := range []string{"+OK\r\n", "*2\r\n$1\r\na\r\n:1\r\n", "$-1\r\n", "*1000000\r\n", "-ERR\r\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := readReply(bufio.NewReader(strings.NewReader(s)), 0)
		if err == nil {
			_, _ = text(v)
			_, _ = words(v)
			_, _ = pairs(v)
		}
	})
}
