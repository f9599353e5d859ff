#!/bin/sh
# Managed by multihead; changes are overwritten.
#
#   mariadb-interrupted DIRECTORY
#
# Before each start of mariadbd. Where all heads lose their power at once Galera forms the
# cluster again by itself, from what each of them saw last of it (gvwstate.dat), and takes
# the furthest of those that know how far they are. One that was changing tables does not:
# grastate.dat has no identity meanwhile. Its rows, the newest of all among them, are then
# overwritten with a copy of whoever was behind. (Seen in 11.8.9: an INSERT that was
# acknowledged, with an ALTER TABLE after it, was gone on all heads.)
#
# So what such a head saw last is put aside. Nobody then begins without being told so, and
# multihead finds out how far each of them goes. Where the others live it joins them all
# the same, and is sent a whole copy.
cd "$1" 2>/dev/null && [ -e grastate.dat ] || exit 0
seen=gvwstate.dat aside=gvwstate.dat.interrupted

if ! grep -q '^uuid:[[:space:]]*00000000-0000-0000-0000-000000000000' grastate.dat; then
	rm -f "$aside"
	exit 0
fi
# A part of a copy, or one that was not written down yet: whoever it came from has more.
[ ! -e sst_in_progress ] && [ ! -e .sst ] || exit 0
for copy in *_galera_info*; do
	[ ! "$copy" -nt grastate.dat ] || exit 0
done
# What was found out is of before this start.
! grep -q '^# InnoDB goes up to ' grastate.dat || sed -i '/^# InnoDB goes up to /d' grastate.dat
[ -e "$seen" ] || exit 0
echo "Tables were being changed when it ended: it does not begin by itself. The agents find out how far each head goes, or multihead recover does."
mv -fT "$seen" "$aside" && sync .
