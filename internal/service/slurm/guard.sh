#!/bin/sh
# Managed by multihead; changes are overwritten.
#
# slurmctld-state DIRECTORY USER: run as root before slurmctld starts, and once it
# serves. It fails where the state that slurmctld saved is not there any more.
#
# slurmctld takes a state file that is missing for a first start, and begins with no
# jobs and with job 1. It looks for FILE.old before it does, and ends where it cannot
# make sense of that. So FILE.old is a guard: a text, of root, in a directory in which
# nobody removes what is another's (sticky). slurmctld's attempts to replace it fail,
# which it does not mind. That holds for a controller that stands by as well, which
# reads the state only as it takes over.
dir=$1 user=$2 lost=
[ "$user" != root ] || exit 0 # root removes everything
text='multihead: without its state slurmctld ends here instead of beginning anew'

names=$(ls -1A "$dir") || { echo "multihead: $dir cannot be read, so nobody knows what is in it"; exit 1; }
has() { printf '%s\n' "$names" | grep -qxF -e "$1"; }
is_guard() { tail -c +5 "$1" 2>/dev/null | head -c 10 | grep -q '^multihead:'; }

guarded() { # that it had been saved
	has .multihead-guard && return 0
	has "$1.old" || return 1
	[ -r "$dir/$1.old" ] || return 0 # it cannot be read
	is_guard "$dir/$1.old"
}

# What was written in full and not yet put in its place: slurmctld writes FILE.new,
# has it on disk, removes FILE, and gives FILE.new that name.
finish() {
	new=$dir/$1.new copy=$dir/.multihead-$1
	before=$(stat -c '%i %s %Y' "$new" 2>/dev/null)
	for _ in 1 2 3 4 5 6; do
		[ ! -s "$dir/$1" ] || return 0 # it was just being replaced
		sleep 0.5
	done
	[ -s "$new" ] && [ "$(stat -c '%i %s %Y' "$new")" = "$before" ] || return 1
	[ ! -e "$dir/$1" ] || mv "$dir/$1" "$dir/$1.multihead-empty" || return 1
	cp -p "$new" "$copy" && sync "$copy" && ln "$copy" "$dir/$1" && rm -f "$copy" &&
		echo "multihead: $1 was not in its place; it is now, as slurmctld last wrote it"
	[ -s "$dir/$1" ]
}

for name in job_state node_state resv_state; do
	[ ! -s "$dir/$name" ] && guarded "$name" && ! finish "$name" && lost="$lost $name"
done
if [ -n "$lost" ]; then
	echo "multihead: slurmctld has saved its state in $dir, and$lost is not there: it does not begin without it"
	exit 1
fi

# From here on nothing is a reason not to start.
[ -s "$dir/job_state" ] || exit 0 # nothing has been saved yet
find "$dir" -maxdepth 1 -type f -user root ! -name '.multihead-*' ! -name '*_state.old' -exec chown "$user" {} +
[ "$(stat -c '%U %a' "$dir")" = 'root 1770' ] || { chown root "$dir" && chmod 1770 "$dir"; } || exit 0
for name in job_state node_state resv_state; do
	[ -s "$dir/$name" ] || continue
	[ "$(stat -c %U "$dir/$name.old" 2>/dev/null)" = root ] && is_guard "$dir/$name.old" && continue
	# As slurmctld packs a text: its length, and a zero at its end.
	new=$dir/.multihead-new
	printf "\\000\\000\\000\\$(printf %03o $((${#text} + 1)))%s\\000" "$text" >"$new" &&
		chown root "$new" && chmod 0644 "$new" && sync "$new" && mv -f "$new" "$dir/$name.old"
done
[ -e "$dir/.multihead-guard" ] || { : >"$dir/.multihead-guard" && sync "$dir/.multihead-guard"; }
exit 0
