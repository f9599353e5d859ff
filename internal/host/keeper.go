package host

import "io"

// Keeper is a Reader for one who looks at the same machine again and again, as an
// agent does every second: what is costly to open, such as a session with a
// daemon, is kept for the next look.
type Keeper interface {
	Reader
	// Kept gives out what was kept under that key, to one who asks; nil where
	// there is nothing. Whoever has it keeps it again or closes it.
	Kept(key string) io.Closer
	// Keep keeps it. Something kept under the same key is closed.
	Keep(key string, what io.Closer)
}
