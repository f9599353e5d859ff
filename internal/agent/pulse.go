package agent

import "time"

// pulse comes at the next of the moments that lie every apart: the same for all
// that waits here, and by the clock, so the same on all heads. That a process
// wakes costs more than what most of it then does, and what the other agents say
// arrives while this one is awake.
func pulse(every time.Duration) <-chan time.Time {
	return time.After(untilPulse(time.Now(), every))
}

// untilPulse is at most every, and at least a quarter of it: what was late is not
// followed by the next at once.
func untilPulse(now time.Time, every time.Duration) time.Duration {
	wait := every - time.Duration(now.UnixNano()%int64(every))
	if wait < every/4 {
		wait = every / 4
	}
	return wait
}
