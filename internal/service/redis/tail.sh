#!/bin/sh
# Managed by multihead; changes are overwritten.
#
# Run before a Redis server starts, with its data directory. After a power cut
# a file may be longer than what had been written into it; the rest reads as
# zeros, and Redis refuses the whole append-only file for it. No command ends
# in a zero, so zeros at the end are cut off. Nothing else is touched: a
# command that was cut in the middle Redis drops by itself.
for f in "$1"/appendonlydir/*.incr.aof; do
	[ -f "$f" ] || continue
	[ "$(tail -c 1 "$f" | od -An -tx1)" = " 00" ] || continue
	size=$(stat -c %s "$f") || continue
	low=1 high=$size # the last $low bytes are zeros; how many more?
	while [ "$low" -lt "$high" ]; do
		middle=$(((low + high + 1) / 2))
		if [ "$(tail -c "$middle" "$f" | tr -d '\000' | head -c 1 | wc -c)" -eq 0 ]; then
			low=$middle
		else
			high=$((middle - 1))
		fi
	done
	echo "cutting $low zeros off the end of $f ($size bytes)"
	truncate -s $((size - low)) "$f"
done
