#!/bin/sh
# Managed by multihead; changes are overwritten.
#
# Run before slurmctld starts on the head that is first in SlurmctldHost, with
# the state directory. That one takes charge from a backup as it starts, and the
# backup needs half a minute to let go (CONTROL_TIMEOUT), in which nobody serves.
# So it waits while a backup's heartbeat goes on, until that gives way in order;
# when nobody sees to that for half a minute, it starts all the same.
beat="$1/heartbeat" yield="$1/.multihead-yield" last= same=0 none=0
for _ in $(seq 60); do
	set -- $(od -An -tu8 --endian=big "$beat" 2>/dev/null)
	if [ -z "$2" ]; then # none, or just being replaced
		none=$((none + 1))
		[ "$none" -lt 3 ] || exit 0
		sleep 0.5
		continue
	fi
	none=0
	[ "$2" != 0 ] || exit 0 # its own
	[ ! -e "$yield" ] || exit 0
	if [ "$1" = "$last" ]; then same=$((same + 1)); else same=0 last=$1; fi
	[ "$same" -lt 6 ] || exit 0 # it has stopped
	sleep 0.5
done
echo "a backup is in charge still: slurmctld takes over from it now"
