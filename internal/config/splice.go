package config

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// splicer changes a text at the positions of its nodes. It works on lines and
// columns alone; whether the result says what was meant is checked by its
// caller.
type splicer struct {
	text    []byte
	starts  []int // offset of each line
	newline string
}

func newSplicer(text []byte) *splicer {
	s := &splicer{text: text, newline: "\n"}
	if bytes.Contains(text, []byte("\r\n")) {
		s.newline = "\r\n"
	}
	s.starts = append(s.starts, 0)
	for i, b := range text {
		if b == '\n' && i+1 < len(text) {
			s.starts = append(s.starts, i+1)
		}
	}
	return s
}

// offset converts a position, which counts characters, to bytes.
func (s *splicer) offset(line, col int) int {
	if line < 1 || line > len(s.starts) {
		return len(s.text)
	}
	at := s.starts[line-1]
	for range col - 1 {
		_, size := utf8.DecodeRune(s.text[at:])
		at += size
	}
	return at
}

// line returns the text of a line without its end.
func (s *splicer) line(n int) string {
	end := len(s.text)
	if n < len(s.starts) {
		end = s.starts[n]
	}
	return strings.TrimRight(string(s.text[s.starts[n-1]:end]), "\r\n")
}

func (s *splicer) lines() int { return len(s.starts) }

// put replaces the bytes from start to end.
func (s *splicer) put(start, end int, text string) {
	s.text = slices.Concat(s.text[:start], []byte(text), s.text[end:])
}

// insertLines puts lines before line n, which may be one past the last.
func (s *splicer) insertLines(n int, lines []string) {
	block := strings.Join(lines, s.newline) + s.newline
	at := len(s.text)
	if n <= len(s.starts) {
		at = s.starts[n-1]
	} else if at > 0 && s.text[at-1] != '\n' {
		block = s.newline + block
	}
	s.put(at, at, block)
}

// removeLines takes out the lines first to last.
func (s *splicer) removeLines(first, last int) {
	end := len(s.text)
	if last < len(s.starts) {
		end = s.starts[last]
	}
	s.put(s.starts[first-1], end, "")
}

func indentOf(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

func blank(line string) bool { return strings.TrimSpace(line) == "" }

func comment(line string) bool { return strings.HasPrefix(strings.TrimSpace(line), "#") }

// blockEnd returns the last line of the part that starts on line first and
// whose key or dash is indented by indent spaces. Blank lines and comments
// that follow belong to what comes next, unless they are indented deeper.
// dashes says that lines starting with a dash at the same indent belong to
// the part: a list may stand flush with its key.
func (s *splicer) blockEnd(first, indent int, dashes bool) int {
	last := first
	for n := first + 1; n <= s.lines(); n++ {
		line := s.line(n)
		if blank(line) {
			continue
		}
		deeper := indentOf(line) > indent
		if !deeper && dashes && indentOf(line) == indent && strings.HasPrefix(strings.TrimSpace(line), "-") {
			deeper = true
		}
		switch {
		case deeper:
			last = n
		case !comment(line):
			return last
		}
	}
	return last
}

// above returns the first of the comment lines directly above line n that are
// indented like it.
func (s *splicer) above(n, indent int) int {
	for n > 1 && comment(s.line(n-1)) && indentOf(s.line(n-1)) == indent {
		n--
	}
	return n
}

// scalarEnd returns the offset behind the scalar that starts at start.
func (s *splicer) scalarEnd(start int, flow bool) (int, error) {
	text := s.text
	if start >= len(text) {
		return start, nil
	}
	switch text[start] {
	case '"', '\'':
		return quotedEnd(text, start), nil
	case '|', '>':
		return 0, ErrByHand
	}
	end := start
	for end < len(text) && text[end] != '\n' && text[end] != '\r' {
		if text[end] == '#' && end > start && text[end-1] == ' ' {
			break
		}
		if flow && strings.IndexByte(",]}", text[end]) >= 0 {
			break
		}
		end++
	}
	for end > start && (text[end-1] == ' ' || text[end-1] == '\t') {
		end--
	}
	return end, nil
}

func quotedEnd(text []byte, start int) int {
	quote := text[start]
	for i := start + 1; i < len(text); i++ {
		switch {
		case quote == '"' && text[i] == '\\':
			i++
		case text[i] == quote && quote == '\'' && i+1 < len(text) && text[i+1] == '\'':
			i++
		case text[i] == quote:
			return i + 1
		}
	}
	return len(text)
}

func (s *splicer) replaceScalar(n *node, flow bool, value string) error {
	if n.kind != scalarKind && n.kind != nullKind {
		return fmt.Errorf("it is not one value; %w", ErrByHand)
	}
	start := s.offset(n.line, n.col)
	end, err := s.scalarEnd(start, flow)
	if err != nil {
		return err
	}
	s.put(start, end, value)
	return nil
}

// fillNull writes a value behind a key that has none.
func (s *splicer) fillNull(key *node, value string) error {
	colon, err := s.colon(key)
	if err != nil {
		return err
	}
	end, err := s.scalarEnd(skipSpaces(s.text, colon+1), false)
	if err != nil {
		return err
	}
	if rest := strings.TrimSpace(string(s.text[colon+1 : max(end, colon+1)])); rest == "" || rest[0] == '#' {
		end = colon + 1
	}
	s.put(colon+1, end, " "+value)
	return nil
}

func skipSpaces(text []byte, i int) int {
	for i < len(text) && text[i] == ' ' {
		i++
	}
	return i
}

// colon returns the offset of the colon behind a key.
func (s *splicer) colon(key *node) (int, error) {
	i := s.offset(key.line, key.col)
	if i < len(s.text) && (s.text[i] == '"' || s.text[i] == '\'') {
		i = quotedEnd(s.text, i)
	} else {
		i += len(key.text)
	}
	if i = skipSpaces(s.text, i); i >= len(s.text) || s.text[i] != ':' {
		return 0, ErrByHand
	}
	return i, nil
}

// addKey adds keys at the end of the map m, whose own key is parent.
func (s *splicer) addKey(m, parent *node, fields []Field) error {
	switch {
	case m.kind == nullKind && parent != nil:
		return s.fillEmptyMap(parent, fields)
	case m.flow:
		return s.addFlow(m, renderFlowFields(fields), len(m.pairs) > 0)
	case len(m.pairs) == 0:
		return ErrByHand
	}
	line, indent := s.mapEnd(m)
	s.insertLines(line+1, renderFields(fields, indent))
	return nil
}

func (s *splicer) fillEmptyMap(parent *node, fields []Field) error {
	colon, err := s.colon(parent)
	if err != nil {
		return err
	}
	if rest := strings.TrimSpace(s.line(parent.line)[colon+1-s.starts[parent.line-1]:]); rest != "" && rest[0] != '#' {
		return ErrByHand
	}
	s.insertLines(parent.line+1, renderFields(fields, parent.col-1+2))
	return nil
}

// mapEnd returns the last line of a block map and the indent of its keys.
func (s *splicer) mapEnd(m *node) (line, indent int) {
	last := m.pairs[len(m.pairs)-1]
	for _, p := range m.pairs {
		if !p.merged && p.key.line >= last.key.line {
			last = p
		}
	}
	indent = last.key.col - 1
	return s.blockEnd(last.key.line, indent, last.value.kind == listKind), indent
}

// addList adds a key with a list of one entry at the end of a map.
func (s *splicer) addList(m, parent *node, key string, entry []Field) error {
	if m.flow {
		return s.addFlow(m, key+": [{"+renderFlowFields(entry)+"}]", len(m.pairs) > 0)
	}
	line, indent := 0, 0
	switch {
	case m.kind == nullKind && parent != nil:
		line, indent = parent.line, parent.col-1+2
	case len(m.pairs) > 0:
		line, indent = s.mapEnd(m)
	default:
		return ErrByHand
	}
	lines := []string{strings.Repeat(" ", indent) + key + ":"}
	s.insertLines(line+1, append(lines, renderItem(entry, indent+2, 2, nil)...))
	return nil
}

// startList writes the first entry of a list behind a key that has none.
func (s *splicer) startList(key *node, flow bool, entry []Field) error {
	if flow {
		return s.fillNull(key, "[{"+renderFlowFields(entry)+"}]")
	}
	s.insertLines(key.line+1, renderItem(entry, key.col-1+2, 2, nil))
	return nil
}

func (s *splicer) appendItem(list *node, entry []Field) error {
	if list.flow {
		return s.addFlow(list, "{"+renderFlowFields(entry)+"}", len(list.items) > 0)
	}
	last := list.items[len(list.items)-1]
	dash, err := s.dash(last)
	if err != nil {
		return err
	}
	line, indent := s.lineOf(dash)
	gap := 2
	if last.line == line && last.kind == mapKind && !last.flow {
		gap = last.col - 1 - indent
	}
	end := s.blockEnd(line, indent, false)
	s.insertLines(end+1, renderItem(entry, indent, gap, last))
	return nil
}

// dash returns the offset of the dash before a list entry.
func (s *splicer) dash(item *node) (int, error) {
	i := s.offset(item.line, item.col) - 1
	for i >= 0 && strings.IndexByte(" \r\n", s.text[i]) >= 0 {
		i--
	}
	if i < 0 || s.text[i] != '-' {
		return 0, ErrByHand
	}
	return i, nil
}

// lineOf returns the line of an offset and how many bytes precede it there.
func (s *splicer) lineOf(offset int) (line, indent int) {
	i, found := slices.BinarySearch(s.starts, offset)
	if !found {
		i--
	}
	return i + 1, offset - s.starts[i]
}

func (s *splicer) removeItem(list *node, i int) error {
	if list.flow {
		return s.removeFlow(list, s.offset(list.items[i].line, list.items[i].col), i, len(list.items))
	}
	dash, err := s.dash(list.items[i])
	if err != nil {
		return err
	}
	line, indent := s.lineOf(dash)
	if !blank(s.line(line)[:indent]) {
		return ErrByHand // "key: - x" or "- - x"
	}
	last := s.blockEnd(line, indent, false)
	first := line
	if i > 0 {
		first = s.above(line, indent)
	}
	s.removeLines(first, last)
	return nil
}

func (s *splicer) removeKey(m *node, i int) error {
	key := m.pairs[i].key
	if m.flow {
		return s.removeFlow(m, s.offset(key.line, key.col), i, len(m.pairs))
	}
	indent := key.col - 1
	if !blank(s.line(key.line)[:indent]) {
		return ErrByHand // the first key of a list entry shares its line with the dash
	}
	last := s.blockEnd(key.line, indent, m.pairs[i].value.kind == listKind)
	first := key.line
	if i > 0 {
		first = s.above(first, indent)
	}
	s.removeLines(first, last)
	return nil
}
