#!/bin/sh
# Managed by multihead; changes are overwritten.
#
#   slurmctld-readable DIRECTORY [ATTEMPTS]
#
# Says whether slurmctld can read its state directory, and where it cannot, what
# keeps it from that. slurmctld takes a file that it cannot open for one that is
# not there, and begins without the jobs in it: exit code 1. Of a job whose script
# it cannot open it ends when it starts that: exit code 2, or after so many
# attempts, a second apart, only a word about it. 0 attempts look at no scripts, nor
# does one while a controller hands over in order: another takes over after 4 s.
#
# Found: what was written while a head was away, and is not on its brick again when
# another head dies, cannot be opened ("Transport endpoint is not connected"): too
# few bricks have it. GlusterFS copies it once all of them are here, and opening it
# then, as this does, brings it to the brick at once.
export LC_ALL=C
attempts=${2:-1}
cd "$1" 2>/dev/null || {
	echo "$1 cannot be entered"
	exit 1
}
[ -f .multihead-state ] || {
	echo "$1 is not the state of slurmctld: .multihead-state is missing"
	exit 1
}

# What a controller that lives replaces in this moment is not there for a moment.
state() {
	find . -maxdepth 1 -type f ! -name 'heartbeat*' ! -name '.multihead-*' -exec head -qc 1 {} + 2>&1 >/dev/null |
		grep -v -e 'No such file or directory' -e '/heartbeat' -e '/\.multihead-' | head -n 3
}

jobs() { find . -mindepth 2 -maxdepth 2 -path './hash.*/job.*' -printf '%f %p\n'; }

# The scripts of jobs, the newest first, for a second: of very many not all. Only what
# comes back with the bricks is waited for, and only where the state has the number of the
# job: one that was just being taken when its controller died was promised to nobody, and
# its files stay as they are until all bricks are back.
scripts() {
	{
		jobs 2>&1 >/dev/null
		newest=$(jobs 2>/dev/null | sort -t . -k 2,2nr | cut -d ' ' -f 2-)
		printf '%s\n' "$newest" | timeout 1 xargs -r -d '\n' -n 32 -P 4 sh -c 'find "$@" -type f -exec head -qc 1 {} +' sh 2>&1 >/dev/null
	} | grep 'Transport endpoint is not connected' | perl -ne '
		BEGIN { local $/; open(my $f, "<", "job_state"); $state = <$f> // "" }
		print if !/job\.(\d+)/ || index($state, pack("N", $1), 35) >= 0;
	' | head -n 3
}

# A controller that died had not saved the jobs of its last seconds (up to 5), and the
# next would give their numbers again, to nodes that may run them still: "Duplicate
# jobid", the job is cancelled and the node drained. Their files say which those were.
# The number in the state only goes up, in the file that was read, and only where no
# controller has written a heartbeat for 3 s.
number() {
	beat=$(stat -c %Y heartbeat 2>/dev/null) && [ $(($(date +%s) - beat)) -lt 3 ] && return
	last=$(jobs 2>/dev/null | cut -d ' ' -f 1 | cut -d . -f 2 | sort -n | tail -n 1)
	[ -z "$last" ] || perl -e '
		my ($name, $last, $f, $head) = @ARGV;
		open($f, "+<", $name) && sysread($f, $head, 35) == 35 && substr($head, 4, 16) eq "PROTOCOL_VERSION" or exit;
		my $next = unpack("N", substr($head, 31));
		exit if $last < $next || $last > $next + 10000; # the numbers begin anew at MaxJobId
		sysseek($f, 31, 0) && syswrite($f, pack("N", $last + 1));
	' job_state "$last"
}

tried=0 begin=$(date +%s)
while :; do
	code=1 why=$(state)
	if [ -z "$why" ] && [ "$attempts" -gt 0 ] && [ ! -e .multihead-yield ]; then
		code=2 why=$(scripts)
	fi
	[ -n "$why" ] || break
	tried=$((tried + 1))
	[ "$tried" -lt "$attempts" ] && [ $(($(date +%s) - begin)) -lt 15 ] || break
	sleep 1
done
if [ -n "$why" ]; then
	echo "$why"
	[ "$attempts" -gt 1 ] && [ "$code" -eq 2 ] || exit "$code"
fi
[ "$attempts" -eq 0 ] || number
exit 0
