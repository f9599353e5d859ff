package slurm

import "time"

const (
	// quietFor is how long there has to be no new heartbeat before a slurmctld whose state
	// was seen to be refused is killed. The one in charge writes one a second; another
	// takes over SlurmctldTimeout (4 s) after the last, and reads the state one or two
	// later.
	quietFor = 2500 * time.Millisecond
	// proofAfter is when it is begun to look, and scriptsAfter when at scripts too, and
	// numbers of jobs that were not saved are taken note of: as late as there is time.
	proofAfter   = time.Second
	scriptsAfter = 3200 * time.Millisecond
	// scriptsFor is for how long scripts of jobs alone are a reason. It would end itself at
	// each that it wants to start, and come back without what it took meanwhile; but which
	// of them are wanted nobody knows, and one may be of a job that was just being
	// forgotten.
	scriptsFor = time.Minute
	// ownBeats is after how many heartbeats of its own slurmctld is in charge: what its
	// predecessor on this head wrote last is seen a second late, and is one or two.
	ownBeats = 3
)

// watch is what is known on a head about its slurmctld, the heartbeat, and the state.
type watch struct {
	pid      string // of slurmctld; empty where it does not run
	looked   bool   // for it, at least once
	last     heartbeat
	advanced time.Time // when another heartbeat was seen than before
	own      int       // heartbeats of its own in a row, since it was started
	known    bool      // whether it is in charge is: it was seen to begin, or another one's heartbeat
	stood    bool      // another's heartbeat came while it ran
	read     bool      // a heartbeat was, while it ran

	readable time.Time // when the last look at the state began that found that it is
	refused  unread    // by the last look
	scripts  bool      // since the heartbeat stopped all scripts were found readable, or are not waited for any more
}

// unread is what a look at the state found that cannot be read.
type unread struct {
	why     string // what could not be read; empty where all could
	scripts bool   // that is scripts of jobs and nothing else
}

// process notes who runs, and says whether that is another than before. One that was
// started anew reads the state, and its unit has looked whether it can.
func (w *watch) process(pid string) bool {
	if w.looked && pid == w.pid {
		return false
	}
	w.known, w.stood, w.read = w.looked, false, false
	w.looked = true
	w.refused, w.scripts = unread{}, true
	w.pid, w.own = pid, 0
	return pid != ""
}

// saw takes a heartbeat as it was read. place is this head's own.
func (w *watch) saw(b heartbeat, place int, now time.Time) {
	w.read = true
	if b == w.last {
		return
	}
	first := w.last.at.IsZero()
	w.last, w.advanced, w.scripts, w.refused = b, now, false, unread{}
	switch {
	case b.index != place:
		w.own, w.known, w.stood = 0, true, true
	case !first:
		w.own++
		w.known = w.known || w.own >= ownBeats
	}
}

// inCharge says whether slurmctld here has the state in its memory: that it cannot be
// read takes nothing from it.
func (w *watch) inCharge() bool {
	return w.pid != "" && (w.own >= ownBeats || w.own > 0 && w.stood)
}

// wantsProof says whether it is time to look at the state, and whether at scripts too.
// The state comes first: that is quick.
func (w *watch) wantsProof(now time.Time) (wanted, scripts bool) {
	return w.pid != "" && !w.inCharge() && now.Sub(w.advanced) >= proofAfter, !w.scripts && now.Sub(w.advanced) >= scriptsAfter && w.readable.After(w.advanced)
}

// checked takes a look at the state that began and ended then. One during which a
// heartbeat came says nothing any more.
func (w *watch) checked(began, ended time.Time, scripts bool, f unread) {
	if w.advanced.After(began) {
		return
	}
	if f.scripts && ended.Sub(w.advanced) > scriptsFor {
		f = unread{}
	}
	w.refused = f
	if f.why == "" || f.scripts {
		w.readable = began
		w.scripts = w.scripts || scripts && f.why == ""
	}
}

// harmful says whether slurmctld may not go on, and why. Of one that may be in charge
// nothing is said; and a look that hangs says nothing either: slurmctld's own would hang
// as well, and killing it costs ten seconds without a scheduler where all is well.
func (w *watch) harmful(now time.Time) (bool, unread) {
	if w.pid == "" || !w.known || !w.read || w.inCharge() || now.Sub(w.advanced) < quietFor || w.refused.why == "" {
		return false, unread{}
	}
	return true, w.refused
}
