package main

import (
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"

	"multihead/internal/plan"
	"multihead/internal/service"
)

// palette colours states, and only states; the word is always there as well.
type palette struct{ on bool }

// colours decides whether what goes to w is coloured: --color first, then
// NO_COLOR and dumb terminals, then whether a person looks at it.
func (a *app) colours(w io.Writer) palette {
	switch a.color {
	case "always":
		return palette{true}
	case "never":
		return palette{}
	}
	if os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return palette{}
	}
	f, ok := w.(*os.File)
	return palette{ok && term.IsTerminal(int(f.Fd()))}
}

// word colours one of the states.
func (p palette) word(w service.Word, s string) string {
	if !p.on {
		return s
	}
	return text.Colors{wordColour(w)}.Sprint(s)
}

func wordColour(w service.Word) text.Color {
	switch w {
	case service.Up:
		return text.FgGreen
	case service.Down:
		return text.FgRed
	case service.Degraded, service.Maint, service.Drain:
		return text.FgYellow
	default:
		return text.FgMagenta
	}
}

// kind colours the sign of a plan's line.
func (p palette) kind(k plan.Kind, s string) string {
	if !p.on {
		return s
	}
	switch k {
	case plan.Add:
		return text.Colors{text.FgGreen}.Sprint(s)
	case plan.Change, plan.Run:
		return text.Colors{text.FgYellow}.Sprint(s)
	case plan.Destroy, plan.Restart:
		return text.Colors{text.FgRed}.Sprint(s)
	case "":
		return text.Colors{text.Faint}.Sprint(s)
	}
	return s
}

// truncate cuts s to a width in columns; a Korean syllable takes two.
func truncate(s string, width int) string {
	if width <= 0 || text.StringWidthWithoutEscSequences(s) <= width {
		return s
	}
	return text.Trim(s, width)
}

// utf8Locale says whether the person's terminal is told to show UTF-8.
func utf8Locale() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := os.Getenv(name); v != "" {
			v = strings.ToLower(v)
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return false
}

func upperFirst(s string) string {
	first, size := utf8.DecodeRuneInString(s)
	if size == 0 {
		return s
	}
	return string(unicode.ToUpper(first)) + s[size:]
}
