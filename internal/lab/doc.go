// Package lab makes real hosts on one machine: Debian systems with their own
// systemd, address, disks and SSH server, joined by a bridge in a network
// namespace that has no way out. It is where the product is tried before it
// is trusted: the tool drives these hosts over SSH as it drives any others.
//
// A lab is a directory, a network namespace and a control group, all of the
// lab's name. Nothing else is remembered: what is running is asked of the
// kernel each time, so a tool that was killed half way leaves nothing that
// Down does not find.
//
// A host is systemd-nspawn over an overlay of a cached image. What it writes
// goes to two disks of its own (loop-mounted files: the system and /data), so
// that cutting the power loses what was not yet synced, as it does on real
// machines.
package lab
