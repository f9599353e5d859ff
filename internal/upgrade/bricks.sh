# Ends the bricks, then glusterd, and starts both. A glusterd that finds a brick still
# ending takes it for running, and nobody starts it then.
pids=$(cat /run/gluster/vols/*/*.pid /run/gluster/shd/*/*.pid 2>/dev/null)
systemctl stop multihead-bricks.service
systemctl stop glusterd.service
left=$pids
for ((n = 0; n < 150; n++)); do
	left=
	for p in $pids; do
		read -r comm 2>/dev/null </proc/"$p"/comm && [[ $comm == gluster* ]] && left+=" $p"
	done
	[[ $left ]] || break
	sleep 0.2
done
systemctl start glusterd.service
rc=$?
systemctl start multihead-bricks.service || rc=1
if [[ $left ]]; then
	echo "the brick has not ended within 30 s:$left" >&2
	rc=1
fi
exit "$rc"
