#!/bin/sh
# Managed by multihead; changes are overwritten.
#
# Run before slurmctld starts on the head that is first in SlurmctldHost, with
# the state directory. That one takes charge from a backup as it starts, and the
# backup needs half a minute to let go (CONTROL_TIMEOUT), in which nobody serves.
# So it waits while a backup's heartbeat goes on, or is about to begin, until that
# gives way in order; when nobody sees to that, it starts all the same.
beat="$1/heartbeat" yield="$1/.multihead-yield" last= same=0 none=0
others=$(sed -n 's/^SlurmctldHost=.*(\(.*\)).*/\1/p' /etc/slurm/slurm.conf | tail -n +2)
[ -n "$others" ] || exit 0

standby() { # some other controller runs
	for host in $others; do
		timeout 1 bash -c "</dev/tcp/$host/6817" 2>/dev/null && return 0
	done
	return 1
}

for _ in $(seq 140); do # a backup serves meanwhile; systemd gives up at 90 s
	set -- $(od -An -tu8 --endian=big "$beat" 2>/dev/null)
	[ ! -e "$yield" ] || exit 0
	if [ -z "$2" ]; then # none, or just being replaced
		none=$((none + 1))
		[ "$none" -lt 3 ] || exit 0
	elif [ "$2" = 0 ]; then
		# Its own, by its own clock: after some seconds a backup takes over.
		none=0 age=$(($(date +%s) - $1))
		[ "$age" -ge 4 ] && [ "$age" -le 40 ] && standby || exit 0
	else
		none=0
		if [ "$1" = "$last" ]; then same=$((same + 1)); else same=0 last=$1; fi
		[ "$same" -lt 6 ] || exit 0 # it has stopped
	fi
	sleep 0.5
done
echo "a backup is in charge still: slurmctld takes over from it now"
