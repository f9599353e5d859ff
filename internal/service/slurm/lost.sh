#!/bin/sh
# Managed by multihead; changes are overwritten.
#
#   slurmctld-lost DIRECTORY NOTE
#
# After a power cut of all heads the state in DIRECTORY can have a job whose script is
# on no disk: nobody waits for the disks when a job is taken, and job_state is synced
# when it is saved. slurmctld ends itself when it starts that job, on every head and at
# every start, until a person takes the job away. Of a job without any files it says when
# it starts "Script for JobId=... lost, state set to FAILED", and goes on. So where it has
# just ended so here, and every brick of the volume says that the file is not there, or
# that it is empty (or the bricks that are here do, again and again), what there is of the
# job's files is kept aside. What was done is written to the file NOTE too.
export LC_ALL=C
cd "$1" && [ -f .multihead-state ] || exit 1

# whole says whether what a directory shows comes from every brick that there is.
whole() {
	[ "$(findmnt -n -o FSTYPE -T "$1")" = fuse.glusterfs ] || return 0
	volume=$(findmnt -n -o SOURCE -T "$1")
	volume=${volume#*:}
	all=$(timeout 10 gluster --mode=script volume info "${volume#/}" </dev/null | grep -c '^Brick[0-9]\{1,\}: ')
	seen=$(getfattr --absolute-names --only-values -n trusted.glusterfs.pathinfo "$1" | grep -ao '<POSIX(' | wc -l)
	[ "$all" -gt 0 ] && [ "$seen" -eq "$all" ]
}

# empty says whether a file is not there or empty; not, where nobody knows.
empty() {
	size=$(stat -c %s "$1" 2>&1) || case $size in
	*'No such file or directory') return 0 ;;
	esac
	[ "$size" = 0 ]
}

ends=$(journalctl -b -q -o cat -u slurmctld.service --since=-10min |
	sed -n 's/.*fatal: .*Unable to load job [a-z ]* for JobId=\([0-9]\{1,\}\).*/\1/p')
id=$(printf '%s\n' "$ends" | tail -n 1)
[ -n "$id" ] || exit 0
dir=hash.$((id % 10))/job.$id kept=.multihead-kept/job.$id.$(date +%Y%m%d_%H%M%S)
[ -d "$dir" ] || exit 0
# A brick that does not come back may have it; nobody has a scheduler until then. It
# takes a majority of them for the volume to say anything.
whole "$dir" || [ "$(printf '%s\n' "$ends" | grep -cx "$id")" -ge 5 ] || exit 0
for gone in script environment; do
	! empty "$dir/$gone" || break
	gone=
done
[ -n "$gone" ] || exit 0
mkdir -p "${kept%/*}" && mv -T "$dir" "$kept" || exit 1
echo "the $gone of job $id is on no disk; $1/$kept has what there is of it" | tee "$2"
