package config

import (
	"fmt"
	"io"
	"log/slog"
)

// Masked is what every secret prints as, whatever its length.
const Masked = "********"

// Secret is a password or key. However it is printed, logged or marshalled it
// comes out as Masked; only Reveal gives the value.
type Secret struct{ value string }

// NewSecret makes a secret of value.
func NewSecret(value string) Secret { return Secret{value} }

// Reveal returns the value itself. Every call is a place where it may leak:
// hand it on standard input or in a file of mode 0600, never in argv.
func (s Secret) Reveal() string { return s.value }

// IsZero reports whether the secret is empty.
func (s Secret) IsZero() bool { return s.value == "" }

// String returns Masked, or nothing when the secret is empty.
func (s Secret) String() string {
	if s.value == "" {
		return ""
	}
	return Masked
}

// GoString is String, for %#v.
func (s Secret) GoString() string { return s.String() }

// Format prints String for every verb and flag.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue is String, for slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText is String, for JSON, YAML and everything else that marshals.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
