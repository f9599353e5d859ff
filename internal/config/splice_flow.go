package config

import "strings"

// Changes inside { } and [ ].

// flowEnd returns the offset behind the { } or [ ] that starts at start.
func (s *splicer) flowEnd(start int) (int, error) {
	depth := 0
	for i := start; i < len(s.text); i++ {
		switch c := s.text[i]; {
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			if depth--; depth == 0 {
				return i + 1, nil
			}
		case (c == '"' || c == '\'') && strings.IndexByte(" ,[{:\n", s.text[i-1]) >= 0:
			i = quotedEnd(s.text, i) - 1
		case c == '#' && (s.text[i-1] == ' ' || s.text[i-1] == '\n'):
			for i < len(s.text) && s.text[i] != '\n' {
				i++
			}
		}
	}
	return 0, ErrByHand
}

// addFlow writes text before the bracket that closes n.
func (s *splicer) addFlow(n *node, text string, comma bool) error {
	end, err := s.flowEnd(s.offset(n.line, n.col))
	if err != nil {
		return err
	}
	at := end - 1
	for at > 0 && (s.text[at-1] == ' ' || s.text[at-1] == '\n' || s.text[at-1] == '\r') {
		at--
	}
	if comma && s.text[at-1] != ',' {
		text = ", " + text
	} else if comma {
		text = " " + text
	}
	s.put(at, at, text)
	return nil
}

// removeFlow takes entry i of n out of { } or [ ], with one comma.
func (s *splicer) removeFlow(container *node, start, i, n int) error {
	open := s.offset(container.line, container.col)
	behind, err := s.flowEnd(open)
	if err != nil {
		return err
	}
	end := s.flowItemEnd(start, behind-1)
	switch {
	case i+1 < n: // up to and with the comma behind it, and the blanks behind that
		end = skipSpaces(s.text, end+1)
	case i > 0: // from the comma before it
		for start > open && s.text[start-1] != ',' {
			start--
		}
		start--
	}
	s.put(start, end, "")
	return nil
}

// flowItemEnd returns the offset of the comma or bracket that ends the entry
// at start.
func (s *splicer) flowItemEnd(start, limit int) int {
	depth := 0
	for i := start; i < limit; i++ {
		switch c := s.text[i]; {
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		case c == ',' && depth == 0:
			return i
		case (c == '"' || c == '\'') && (i == start || strings.IndexByte(" ,[{:\n", s.text[i-1]) >= 0):
			i = quotedEnd(s.text, i) - 1
		}
	}
	for limit > start && s.text[limit-1] == ' ' {
		limit--
	}
	return limit
}
