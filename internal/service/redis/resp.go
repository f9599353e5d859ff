package redis

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// The protocol of Redis, version 2, as far as it is needed to ask and steer
// servers: one connection, questions in a row, no retry behind the caller's
// back. An answer is a string, an int64, nil, an error (a serverError inside a
// list stays a value) or a list of these.

// serverError is an error that the server answered.
type serverError string

func (e serverError) Error() string { return string(e) }

var errProtocol = errors.New("that is not the protocol of Redis")

const (
	maxBulk  = 64 << 20 // bytes of one string; CLUSTER NODES of a large cluster is 100 kB
	maxList  = 1 << 20  // elements of one list
	maxDepth = 8        // lists in lists
	maxLine  = 64 << 10
)

// appendCommand writes one command with its arguments.
func appendCommand(b []byte, args []string) []byte {
	b = append(b, '*')
	b = strconv.AppendInt(b, int64(len(args)), 10)
	b = append(b, "\r\n"...)
	for _, a := range args {
		b = append(b, '$')
		b = strconv.AppendInt(b, int64(len(a)), 10)
		b = append(b, "\r\n"...)
		b = append(b, a...)
		b = append(b, "\r\n"...)
	}
	return b
}

// readReply reads one answer.
func readReply(r *bufio.Reader, depth int) (any, error) {
	line, err := readLine(r)
	if err != nil {
		return nil, err
	}
	if len(line) == 0 {
		return nil, errProtocol
	}
	rest := line[1:]
	switch line[0] {
	case '+':
		return rest, nil
	case '-':
		return serverError(rest), nil
	case ':':
		n, err := strconv.ParseInt(rest, 10, 64)
		if err != nil {
			return nil, errProtocol
		}
		return n, nil
	case '$':
		return readBulk(r, rest)
	case '*':
		return readList(r, rest, depth)
	}
	return nil, errProtocol
}

func readBulk(r *bufio.Reader, size string) (any, error) {
	n, err := strconv.Atoi(size)
	if err != nil || n < -1 || n > maxBulk {
		return nil, errProtocol
	}
	if n == -1 {
		return nil, nil
	}
	// Grows with what really comes: a size is only a claim.
	data, err := io.ReadAll(io.LimitReader(r, int64(n)+2))
	if err != nil {
		return nil, err
	}
	if len(data) < n+2 {
		return nil, io.ErrUnexpectedEOF
	}
	if string(data[n:]) != "\r\n" {
		return nil, errProtocol
	}
	return string(data[:n]), nil
}

func readList(r *bufio.Reader, size string, depth int) (any, error) {
	n, err := strconv.Atoi(size)
	if err != nil || n < -1 || n > maxList || depth >= maxDepth {
		return nil, errProtocol
	}
	if n == -1 {
		return nil, nil
	}
	var list []any
	for range n {
		v, err := readReply(r, depth+1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

func readLine(r *bufio.Reader) (string, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return "", err
		}
		if len(line) > maxLine {
			return "", errProtocol
		}
	}
	if len(line) < 2 || line[len(line)-2] != '\r' {
		return "", errProtocol
	}
	return string(line[:len(line)-2]), nil
}

// text is an answer as a string; an error the server answered is an error.
func text(v any) (string, error) {
	switch v := v.(type) {
	case serverError:
		return "", v
	case string:
		return v, nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case nil:
		return "", nil
	}
	return "", fmt.Errorf("%w: a list where a word belongs", errProtocol)
}

// words is an answer as a list of strings.
func words(v any) ([]string, error) {
	if err, ok := v.(serverError); ok {
		return nil, err
	}
	list, ok := v.([]any)
	if !ok && v != nil {
		return nil, fmt.Errorf("%w: a word where a list belongs", errProtocol)
	}
	var out []string
	for _, e := range list {
		s, err := text(e)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// pairs is an answer of names and values in turn, as CONFIG GET gives it.
func pairs(v any) (map[string]string, error) {
	list, err := words(v)
	if err != nil {
		return nil, err
	}
	if len(list)%2 != 0 {
		return nil, fmt.Errorf("%w: a name without a value", errProtocol)
	}
	out := map[string]string{}
	for i := 0; i < len(list); i += 2 {
		out[list[i]] = list[i+1]
	}
	return out, nil
}
