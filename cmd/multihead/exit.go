package main

// Exit codes. 64, 75 and 78 are those of sysexits.h, 124 is that of
// timeout(1) and 130 that of a shell whose child died of SIGINT, so that
// scripts can treat them as they treat everyone else's.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 64
	exitLocked      = 75
	exitConfig      = 78
	exitTimeout     = 124
	exitInterrupted = 130
)

// exitError is an error with the exit code it asks for. A nil err exits
// silently: the verb has said what there was to say.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usageError(err error) error { return &exitError{exitUsage, err} }
