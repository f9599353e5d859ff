#!/usr/bin/env bash
# make demo: the main job, on real hosts on this machine. Forms a cluster of
# four heads and two compute nodes, shows it, and uses it as its users would:
# a job through a backup controller, a row through the virtual address.
#
# usage: demo.sh MULTIHEAD LAB
set -euo pipefail
mh=$1 lab=$2

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
on() { "$mh" lab exec --name "$lab" "$@"; }

say "Four heads and two compute nodes, in a network without a way out"
"$mh" lab up --name "$lab" --heads 4 --compute 2

say "What up would do (nothing is changed)"
"$mh" --lab="$lab" plan | tail -25

say "up"
time "$mh" --lab="$lab" up --yes

say "A job, submitted through a backup controller"
primary=$(on server1 -- scontrol ping | awk '/primary.*UP/ {print "server1"; exit}')
backup=server3
echo "primary: ${primary:-see scontrol ping}; submitting on $backup"
job=$(on "$backup" -- sh -c 'cd /tmp && sbatch --parsable --output=/dev/null --wrap="hostname; sleep 1"' | tr -d '\r')
echo "job $job was accepted"
for _ in $(seq 1 100); do
	state=$(on server4 -- sacct --noheader --parsable2 --allocations --format=State --jobs="$job" | tr -d '\r')
	[ "$state" = COMPLETED ] && break
	sleep 0.2
done
on server4 -- sacct --allocations --format=JobID,JobName,Partition,AllocCPUS,State,NodeList,Elapsed --jobs="$job"
[ "$state" = COMPLETED ]

say "A row, written through the virtual address and read on every head"
vip=$("$mh" -q --lab="$lab" config vip -o name)
# The password travels on standard input, into a file that only root can read.
"$mh" -q --lab="$lab" config get 'database.mariadb.databases[1].password' --reveal |
	on node001 -- sh -c 'umask 077; printf "[client]\nuser=auth_user\npassword=%s\n" "$(cat)" > /root/demo.cnf'
on node001 -- mariadb --defaults-file=/root/demo.cnf -h "$vip" auth_portal -e \
	"CREATE TABLE IF NOT EXISTS demo (n INT PRIMARY KEY AUTO_INCREMENT, via VARCHAR(64)); INSERT INTO demo (via) VALUES (@@hostname);"
for head in server1 server2 server3 server4; do
	printf '%s reads: ' "$head"
	on "$head" -- mariadb -N -e "SET SESSION wsrep_sync_wait=1; SELECT n, CONCAT('written via ', via) FROM auth_portal.demo ORDER BY n DESC LIMIT 1"
done
on node001 -- rm -f /root/demo.cnf

say "The cluster"
"$mh" --lab="$lab" status

cat <<END

It runs. What to try next:
  $mh --lab=$lab status --watch
  $mh --lab=$lab up                        again: nothing to do
  $mh --lab=$lab discover -o json
  $mh lab power-off --name $lab server1    no FIN, no RST; then look at status
  $mh lab power-on --name $lab server1
  $mh lab shell --name $lab server2        sinfo, squeue, mariadb, gluster volume info
  make demo-down                           remove it all
END
