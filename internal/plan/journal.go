package plan

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"
)

// Journal is the record of one run, a line of JSON for each event, on disk
// before the next step begins. It is how a later run knows that this one was
// cut off, and how a person knows what was done, when and by whom.
type Journal struct {
	file *os.File
	path string
}

// RunInfo is the first line of a journal.
type RunInfo struct {
	Version int       `json:"version"` // of the journal's format: 1
	ID      string    `json:"id"`
	Cluster string    `json:"cluster"`
	Command string    `json:"command"` // "up --phase mariadb"; never with a secret in it
	User    string    `json:"user"`
	From    string    `json:"from"` // the machine it was started on
	Begin   time.Time `json:"begin"`
	Steps   int       `json:"steps"`
	// Cause is why an agent acted; a person needs to give none.
	Cause string `json:"cause,omitempty"`
	// Plan is what was agreed to. An agent's run has none: it plans round by round.
	Plan []PlannedStep `json:"plan,omitempty"`
}

// RunEnd is the last line of a journal that was not cut off.
type RunEnd struct {
	End     time.Time `json:"end"`
	Error   string    `json:"error,omitempty"`
	Stopped bool      `json:"stopped,omitempty"` // between two steps, as a person asked
}

// NewJournal begins a record in dir, which is made where it is missing,
// readable by its owner only.
func NewJournal(dir string, info RunInfo) (*Journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	info.Version = 1
	p := filepath.Join(dir, info.ID+journalSuffix)
	f, err := os.OpenFile(p, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	j := &Journal{file: f, path: p}
	// The lock goes with this process, however it ends: who reads the record
	// sees by it whether the run is at work.
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil && !errors.Is(err, syscall.ENOTSUP) {
		return nil, errors.Join(fmt.Errorf("journal: %w", err), f.Close())
	}
	return j, j.line(info)
}

// Path is where the record lies.
func (j *Journal) Path() string { return j.path }

// Record writes one event.
func (j *Journal) Record(ev Event) error { return j.line(ev) }

// Close writes the end of the run.
func (j *Journal) Close(runErr error) error {
	end := RunEnd{End: time.Now()}
	if runErr != nil {
		end.Error, end.Stopped = runErr.Error(), errors.Is(runErr, ErrStopped)
	}
	return errors.Join(j.line(end), j.file.Close())
}

func (j *Journal) line(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if _, err := j.file.Write(append(data, '\n')); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return j.file.Sync()
}

// Unfinished is a run that was cut off: its tool was killed, or its machine
// died.
type Unfinished struct {
	Info RunInfo
	Last Event // what it was at
}

// FindUnfinished returns the newest run in dir if it was cut off, else nil.
func FindUnfinished(dir string) (*Unfinished, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), journalSuffix) {
			names = append(names, e.Name())
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	sort.Strings(names) // run ids begin with their time
	return readUnfinished(filepath.Join(dir, names[len(names)-1]))
}

func readUnfinished(path string) (*Unfinished, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	defer f.Close()
	var u Unfinished
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 16<<20) // the first line has the plan
	for first := true; sc.Scan(); first = false {
		if first {
			if err := json.Unmarshal(sc.Bytes(), &u.Info); err != nil {
				return nil, nil // cut off in its first line: it had begun nothing
			}
			continue
		}
		var end RunEnd
		if json.Unmarshal(sc.Bytes(), &end) == nil && !end.End.IsZero() {
			return nil, nil
		}
		var ev Event
		if json.Unmarshal(sc.Bytes(), &ev) == nil && ev.Type != "" {
			u.Last = ev
		}
	}
	if u.Info.ID == "" {
		return nil, sc.Err()
	}
	return &u, sc.Err()
}
