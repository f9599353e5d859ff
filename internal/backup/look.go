package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"multihead/internal/host"
)

// Held is what one head has of snapshots.
type Held struct {
	Host    string
	Stored  []Stored // oldest first
	Unknown []string // what cannot be read, and why
	Err     error    // why the head cannot be asked
}

// Look reads which snapshots each host has, all at once. It only looks: what
// restic itself says of them is asked by a verification.
func Look(ctx context.Context, hosts map[string]host.Reader, root string) map[string]Held {
	var mu sync.Mutex
	var wg sync.WaitGroup
	out := map[string]Held{}
	for name, r := range hosts {
		wg.Go(func() {
			h := look(ctx, r, root)
			h.Host = name
			mu.Lock()
			defer mu.Unlock()
			out[name] = h
		})
	}
	wg.Wait()
	return out
}

func look(ctx context.Context, r host.Reader, root string) Held {
	dir := path.Dir(Layout{root}.Snapshot("x"))
	entries, err := r.ReadDir(ctx, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return Held{}
	}
	if err != nil {
		return Held{Err: err}
	}
	var h Held
	for _, e := range entries {
		if !ValidID(e.Name) {
			continue
		}
		data, err := r.ReadFile(ctx, path.Join(dir, e.Name, metadataName))
		if err != nil {
			h.Unknown = append(h.Unknown, fmt.Sprintf("%s: %v", e.Name, err))
			continue
		}
		s, err := parseStored(data, e.Name)
		if err != nil {
			h.Unknown = append(h.Unknown, fmt.Sprintf("%s: %v", e.Name, err))
			continue
		}
		h.Stored = append(h.Stored, s)
	}
	return h
}

// parseStored reads a snapshot's description as a head has it.
func parseStored(data []byte, id string) (Stored, error) {
	var s Stored
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("%s: %w", metadataName, err)
	}
	if err := s.Check(); err != nil {
		return s, err
	}
	if s.ID != id {
		return s, fmt.Errorf("its %s is of %s", metadataName, s.ID)
	}
	return s, nil
}

// Snapshot is one snapshot over all heads.
type Snapshot struct {
	Metadata
	On       []string          // heads that have it and found it whole, or have not looked yet
	Bad      map[string]string // heads where it is damaged, and how
	Verified time.Time         // the oldest verification of those in On; zero where one has none
	Offsite  *Offsite          // of the head that copied it, or tried to; nil where none did
}

// Merge lists the snapshots of all heads, oldest first.
func Merge(held map[string]Held) []Snapshot {
	byID := map[string]*Snapshot{}
	for _, name := range sorted(held) {
		for _, s := range held[name].Stored {
			m := byID[s.ID]
			if m == nil {
				m = &Snapshot{Metadata: s.Metadata, Bad: map[string]string{}}
				byID[s.ID] = m
			}
			if s.Offsite != nil && (m.Offsite == nil || m.Offsite.Error != "") {
				m.Offsite = s.Offsite
			}
			if s.Bad != "" {
				m.Bad[name] = s.Bad
				continue
			}
			m.On = append(m.On, name)
			switch {
			case s.Verified == nil:
				m.Verified = time.Time{}
			case len(m.On) == 1 || !m.Verified.IsZero() && s.Verified.Before(m.Verified):
				m.Verified = *s.Verified
			}
		}
	}
	var out []Snapshot
	for _, m := range byID {
		out = append(out, *m)
	}
	slices.SortFunc(out, func(a, b Snapshot) int { return strings.Compare(a.ID, b.ID) })
	return out
}

func sorted(held map[string]Held) []string {
	var names []string
	for n := range held {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
