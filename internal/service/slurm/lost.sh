#!/bin/sh
# Managed by multihead; changes are overwritten.
#
#   slurmctld-lost DIRECTORY NOTE
#
# After a power cut of all heads the state in DIRECTORY can have a job whose script is
# on no disk: nobody waits for the disks when a job is taken, and job_state is synced
# when it is saved. slurmctld ends itself when it starts that job, on every head and at
# every start, until a person takes the job away. Of a waiting job without any files it
# says when it starts "Script for JobId=... lost, state set to FAILED", and goes on. So
# where it has just ended so here, what there is of the job's files is kept aside, and of
# all other jobs that are as it is. What was done is written to the file NOTE too.
export LC_ALL=C
cd "$1" && [ -f .multihead-state ] || exit 1

ends=$(journalctl -b -q -o short-unix --no-hostname -u slurmctld.service --since=-15min |
	sed -n 's/^\([0-9]*\)[.0-9]* slurmctld\[[0-9]*\]: \(slurmctld: \)\{0,1\}fatal: [^ ]*: Unable to load job [a-z ]* for JobId=\([0-9]\{1,\}\).*/\1 \3/p')
id=$(printf '%s\n' "$ends" | tail -n 1 | cut -d ' ' -f 2)
[ -n "$id" ] || exit 0
times=$(printf '%s\n' "$ends" | grep -c " $id\$")
first=$(printf '%s\n' "$ends" | grep " $id\$" | head -n 1 | cut -d ' ' -f 1)

# Another one that is in charge may have the script, and use it.
beat=$(stat -c %Y heartbeat 2>/dev/null)
while [ -n "$beat" ] && [ $(($(date +%s) - beat)) -lt 3 ]; do
	sleep 0.5
	[ "$(stat -c %Y heartbeat 2>/dev/null)" = "$beat" ] || exit 0
done

# How many bricks there are, 0 where that is not known.
if [ "$(findmnt -n -o FSTYPE -T .)" = fuse.glusterfs ]; then
	volume=$(findmnt -n -o SOURCE -T .)
	volume=${volume##*:}
	all=$(timeout 10 gluster --mode=script volume info "${volume#/}" </dev/null | grep -c '^Brick[0-9]\{1,\}: ')
else
	all=local
fi

# whole says whether what a directory shows comes from every brick. Where that cannot be
# said, or one of them does not come back, it is not waited for for ever: nobody has a
# scheduler until then. It takes a majority of them for the volume to answer.
whole() {
	[ "$all" != local ] || return 0
	seen=$(getfattr --absolute-names --only-values -n trusted.glusterfs.pathinfo "$1" | grep -ao '<POSIX(' | wc -l)
	if [ "$all" -eq 0 ] || [ "$seen" -ne "$all" ]; then
		[ "$times" -ge 5 ] && [ $(($(date +%s) - first)) -ge 180 ]
	fi
}

# lost says whether a file is not there. One that is empty, as a disk has it that had the
# name and not yet the text, may be healed from another brick that has more: of the copies
# only one is asked.
lost() {
	size=$(stat -c %s "$1" 2>&1) || case $size in
	*'No such file or directory') return 0 ;;
	esac
	[ "$size" = 0 ] && [ "$times" -ge 3 ]
}

# keep moves what there is of a job that lacks one of these files, and says so.
keep() {
	job=$1 to=$2 gone=''
	shift 2
	dir=hash.$((job % 10))/job.$job kept=.multihead-kept/job.$job.$(date +%Y%m%d_%H%M%S)
	[ -d "$dir" ] || return
	for file in "$@"; do
		! lost "$dir/$file" || gone=${gone:-$file}
	done
	[ -n "$gone" ] && whole "$dir" || return
	mkdir -p "${kept%/*}" && mv -T "$dir" "$kept" || return
	echo "the $gone of job $job is on no disk; $to/$kept has what there is of it"
}

if [ ! -d "hash.$((id % 10))/job.$id" ] && [ "$times" -ge 3 ]; then
	echo "slurmctld ends itself at job $id, which has no files, again and again: start it once by hand with -i, which ends such jobs" | tee "$2"
	exit 0
fi
said=$(keep "$id" "$1" script environment)
[ -n "$said" ] || exit 0
# Each of them would cost a start, and what was taken since.
for dir in hash.*/job.*; do
	perl -e 'local $/; open(my $f, "<", "job_state") or exit 1; exit(index(<$f>, pack("N", shift), 35) < 0)' "${dir##*.}" &&
		more=$(keep "${dir##*.}" "$1" script) && [ -n "$more" ] && said="$said
$more"
done
printf '%s\n' "$said" | tee "$2"
