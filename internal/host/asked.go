package host

import (
	"encoding/json"
	"os"
	"time"
)

// askedFor is how long a wish for a lock counts. Who waits repeats it far more
// often; one who gave up leaves no more than this behind.
const askedFor = 15 * time.Second

// ask notes, beside a lock that gives way, who wants it.
func (l *Local) ask(owner Owner) error {
	owner.Since = time.Now()
	data, err := json.Marshal(owner)
	if err != nil {
		return err
	}
	// Two that ask at once each leave a whole note; whose stays is the same.
	return os.WriteFile(l.lockPath()+".asked", append(data, '\n'), 0o600)
}

// asked says who wants the lock, nil for nobody.
func (l *Local) asked() *LockedError {
	path := l.lockPath() + ".asked"
	info, err := os.Stat(path)
	if err != nil || time.Since(info.ModTime()) > askedFor {
		return nil
	}
	e := &LockedError{Host: l.name, Age: time.Since(info.ModTime())}
	if data, err := os.ReadFile(path); err == nil {
		_ = json.Unmarshal(data, &e.Owner) // half a note is still a wish
	}
	return e
}
