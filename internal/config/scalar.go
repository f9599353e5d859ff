package config

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// quote shows a value in a message, as it stands in the file: what a
// variable stands for is never shown, it may be a secret.
func (d *decoder) quote(n *node) string {
	switch n.kind {
	case mapKind:
		return "a set of keys"
	case listKind:
		return "a list"
	case nullKind:
		return "nothing"
	}
	text := n.text
	if len([]rune(text)) > 60 {
		text = string([]rune(text)[:57]) + "..."
	}
	if !n.quoted && bareValue.MatchString(text) {
		return text
	}
	return fmt.Sprintf("%q", text)
}

// bareValue is a value that is plain to see without quotes.
var bareValue = regexp.MustCompile(`^[A-Za-z0-9._/:+-]+$`)

// plain returns the text of a scalar with its variables resolved. fromVar
// says whether there were any.
func (d *decoder) plain(n *node, path string, want string) (text string, fromVar, ok bool) {
	if n.kind != scalarKind {
		d.fail(n, path, msg("%s where %s belongs", d.quote(n), want), msg("write %s", want))
		return "", false, false
	}
	out, problem := d.vars.expand(n.text)
	if problem != nil {
		d.fail(n, path, problem.what, problem.fix)
		return "", out.vars, false
	}
	return out.text, out.vars, true
}

var (
	decimal  = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)
	simple   = regexp.MustCompile(`^(0|[1-9][0-9]*)(\.[0-9]+)?$`)
	octal    = regexp.MustCompile(`^[-+]?0(o?[0-7]+|[0-9]+)$`)
	sexagesi = regexp.MustCompile(`^[-+]?[0-9]+(:[0-5]?[0-9])+$`)
)

// text reads a value that is a text. A number is taken as it is written, so
// version: 10.10 stays 10.10. What YAML readers disagree about is an error.
func (d *decoder) text(n *node, path string) (string, bool) {
	s, fromVar, ok := d.plain(n, path, "a text")
	if !ok {
		return "", false
	}
	if n.quoted || fromVar || n.tag == "!!str" && !yaml11Bool(n.text) && !sexagesi.MatchString(n.text) {
		return s, true
	}
	if (n.tag == "!!int" || n.tag == "!!float") && simple.MatchString(n.text) {
		return s, true
	}
	if n.tag == "!!timestamp" {
		return s, true
	}
	d.fail(n, path, msg("YAML readers do not agree on what %s without quotes is", n.text), msg(`write '%s'`, n.text))
	return "", false
}

// scalarText reads a value of a free-form map, such as a database setting:
// any scalar, as it is written.
func (d *decoder) scalarText(n *node, path string) (string, bool) {
	if n.kind == nullKind {
		return "", true
	}
	if n.kind == listKind {
		parts := make([]string, 0, len(n.items))
		for i, item := range n.items {
			s, ok := d.scalarText(item, indexPath(path, i))
			if !ok {
				return "", false
			}
			parts = append(parts, s)
		}
		return strings.Join(parts, ","), true
	}
	s, _, ok := d.plain(n, path, "a value")
	return s, ok
}

// secret reads a password. Its value is in no message.
func (d *decoder) secret(n *node, path string) (Secret, bool) {
	if n.kind != scalarKind {
		d.fail(n, path, msg("a password must be one text"), msg("write it in quotes, or as ${NAME}"))
		return Secret{}, false
	}
	out, problem := d.vars.expand(n.text)
	switch {
	case problem != nil:
		d.fail(n, path, problem.what, problem.fix)
		return Secret{}, false
	case strings.ContainsAny(out.text, "\n\r\x00"):
		d.fail(n, path, msg("a password must be one line"), msg("remove the line break"))
		return Secret{}, false
	case n.quoted || out.vars || n.tag == "!!str" && !yaml11Bool(n.text) && !sexagesi.MatchString(n.text),
		n.tag == "!!int" && decimal.MatchString(n.text):
		s := Secret{out.text}
		d.secrets = append(d.secrets, placedSecret{path, s, out.inFile})
		return s, true
	}
	d.fail(n, path, msg("YAML readers do not agree on what this password without quotes is"), msg("put it in single quotes"))
	return Secret{}, false
}

func yaml11Bool(s string) bool {
	switch strings.ToLower(s) {
	case "yes", "no", "on", "off", "y", "n":
		return true
	}
	return false
}

// boolean reads true or false. yes, no, on and off are what YAML 1.1 readers
// take for the same; they load with a warning.
func (d *decoder) boolean(n *node, path string) (value, ok bool) {
	s, fromVar, ok := d.plain(n, path, "true or false")
	if !ok {
		return false, false
	}
	lower := strings.ToLower(s)
	switch {
	case lower == "true" || lower == "false":
		if n.quoted && !fromVar {
			d.warn(n, path, msg("%s in quotes is a text; it is read as %s here", d.quote(n), lower), msg("write %s without quotes", lower))
		}
		return lower == "true", true
	case yaml11Bool(s) && len(s) > 1 && !n.quoted && !fromVar:
		value = lower == "yes" || lower == "on"
		d.warn(n, path, msg("%s is a text to newer YAML readers; it is read as %t here", n.text, value), msg("write %t", value))
		return value, true
	}
	d.fail(n, path, msg("%s is neither true nor false", d.quote(n)), msg("write true or false"))
	return false, false
}

// integer reads a whole number within the bounds of f.
func (d *decoder) integer(n *node, path string, f *field) (int64, bool) {
	s, fromVar, ok := d.plain(n, path, "a number")
	if !ok {
		return 0, false
	}
	if !decimal.MatchString(s) {
		fix := msg("write a whole number such as 10")
		if !fromVar {
			fix = numberFix(s)
		}
		d.fail(n, path, msg("%s is not a number as it is written here", d.quote(n)), fix)
		return 0, false
	}
	i, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		i = math.MaxInt64
		if s[0] == '-' {
			i = math.MinInt64
		}
	}
	if !d.within(n, path, i, f) {
		return 0, false
	}
	return i, true
}

// numberFix names the number that was probably meant.
func numberFix(s string) Message {
	switch {
	case octal.MatchString(s):
		if v, err := strconv.ParseInt(strings.TrimLeft(s, "+"), 0, 64); err == nil && strings.Contains(s, "o") {
			return msg("write %d", v)
		} else if digits := strings.TrimLeft(s, "+-0"); err == nil {
			return msg("write %s, or %d: some YAML readers take a leading 0 for base 8", cmp.Or(digits, "0"), v)
		} else {
			return msg("write %s, without leading zeros", cmp.Or(digits, "0"))
		}
	case strings.Contains(s, "_") && decimal.MatchString(strings.ReplaceAll(s, "_", "")):
		return msg("write %s, without _", strings.ReplaceAll(s, "_", ""))
	case sexagesi.MatchString(s):
		return msg("some YAML readers take %s for base 60: write one number", s)
	}
	if bits, ok := maskBits(s); ok {
		return msg("write %d", bits)
	}
	return msg("write a whole number such as 10")
}

// maskBits is the prefix length of a netmask such as 255.255.255.0.
func maskBits(s string) (int, bool) {
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is4() {
		return 0, false
	}
	b := a.As4()
	mask := binary.BigEndian.Uint32(b[:])
	ones := bits.LeadingZeros32(^mask)
	return ones, ones > 0 && bits.OnesCount32(mask) == ones
}

func (d *decoder) within(n *node, path string, i int64, f *field) bool {
	if f == nil {
		return true
	}
	low, high := f.min, f.max
	if (low == nil || i >= *low) && (high == nil || i <= *high) {
		return true
	}
	switch {
	case low != nil && high != nil:
		d.fail(n, path, msg("%s is out of range", d.quote(n)), msg("write a number from %d to %d", *low, *high))
	case low != nil:
		d.fail(n, path, msg("%s is out of range", d.quote(n)), msg("write %d or more", *low))
	default:
		d.fail(n, path, msg("%s is out of range", d.quote(n)), msg("write %d or less", *high))
	}
	return false
}

func (d *decoder) count(n *node, p *Count, path string, f *field) {
	if n.kind == scalarKind && n.text == "auto" {
		*p = 0
		return
	}
	i, ok := d.integer(n, path, f)
	if !ok {
		return
	}
	if i < 1 {
		d.fail(n, path, msg("%s is out of range", d.quote(n)), msg("write auto, or 1 or more"))
		return
	}
	*p = Count(i)
}

var durationText = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?(ms|s|m|h)$`)

func (d *decoder) duration(n *node, path string, unit time.Duration, unitName string) (time.Duration, bool) {
	s, _, ok := d.plain(n, path, "a length of time")
	if !ok {
		return 0, false
	}
	if durationText.MatchString(s) {
		if v, err := time.ParseDuration(s); err == nil {
			return v, true
		}
	}
	if simple.MatchString(s) {
		if x, err := strconv.ParseFloat(s, 64); err == nil && x*float64(unit) < float64(math.MaxInt64)/2 {
			return time.Duration(x * float64(unit)), true
		}
	}
	d.fail(n, path, msg("%s is not a length of time", d.quote(n)), msg("write a number of %s, or a number with ms, s, m or h, such as 5s", unitName))
	return 0, false
}

func (d *decoder) seconds(n *node, p *Seconds, path string) {
	if v, ok := d.duration(n, path, time.Second, "seconds"); ok {
		*p = Seconds(v)
	}
}

func (d *decoder) millis(n *node, p *Millis, path string) {
	if v, ok := d.duration(n, path, time.Millisecond, "milliseconds"); ok {
		*p = Millis(v)
	}
}
