#!/usr/bin/env bash
# verdict.sh SECONDS: on a head, what a health verdict costs in CPU time: by
# check_all_services.sh, which is read from standard input, and by the agent that
# runs there. Prints one JSON object; times are milliseconds of CPU (user and
# system) per verdict.
#
# Three windows of the same length, one after the other: nobody asks (the agent
# is stopped), the script asks once a second, the agent does its work. A verdict
# of the agent is one look at every service, once a second as well; its cost is
# all that its process used in the window: looks, judging, beats to and from the
# other agents, the proof of the disk. What the daemons used for it is what their
# control groups used beyond the first window.
set -euo pipefail
seconds=$1
here=$(mktemp -d)
web=''
cleanup() {
    if [ -n "$web" ]; then kill "$web" 2>/dev/null || true; fi
    rm -rf "$here"
    systemctl start multihead-agent
}
trap cleanup EXIT
cat >"$here/check"
chmod +x "$here/check"
REDISCLI_AUTH=$(awk '/^requirepass/ { gsub(/"/, "", $2); print $2; exit }' /etc/redis/multihead-6379.conf)
export REDISCLI_AUTH

# This release has no web tier: something that answers /health on its port, so
# that the fifth call has somebody to ask. Its own time is on nobody's bill.
mkdir "$here/www"
echo ok >"$here/www/health"
python3 -m http.server --bind 127.0.0.1 --directory "$here/www" 4430 >/dev/null 2>&1 &
web=$!
for ((i = 0; i < 50; i++)); do
    if curl --silent --fail --output /dev/null http://localhost:4430/health; then break; fi
    sleep 0.1
done

slice=/sys/fs/cgroup/system.slice
# used GROUP... adds up the CPU time of control groups, in microseconds.
used() {
    local group sum=0 n
    for group in "$@"; do
        n=$(awk '$1 == "usage_usec" { print $2 }' "$slice/$group/cpu.stat" 2>/dev/null || true)
        sum=$((sum + ${n:-0}))
    done
    echo "$sum"
}
daemons=(mariadb.service glusterd.service mnt-gluster.mount slurmctld.service slurmdbd.service 'system-redis\x2dserver.slice')

# children is the CPU time of all children of this shell so far, in microseconds.
children() { awk '{ print ($16 + $17) * 10000 }' "/proc/$$/stat"; }

systemctl stop multihead-agent
sleep 3
d0=$(used "${daemons[@]}")
sleep "$seconds"
idle=$(($(used "${daemons[@]}") - d0))

ended=$((SECONDS + seconds)) scripts=0 failed=0
c0=$(children) d0=$(used "${daemons[@]}")
while ((SECONDS < ended)); do
    next=$(awk -v t="$EPOCHREALTIME" 'BEGIN { printf "%.3f", 1 - (t - int(t)) }')
    "$here/check" 2>/dev/null || failed=$((failed + 1))
    scripts=$((scripts + 1))
    sleep "$next"
done
c1=$(children) d1=$(used "${daemons[@]}")
# What the loop itself forks beside the script is small, measured and taken off.
l0=$(children)
for ((i = 0; i < scripts; i++)); do
    awk -v t="$EPOCHREALTIME" 'BEGIN { printf "%.3f", 1 - (t - int(t)) }' >/dev/null
    sleep 0
done
l1=$(children)
script=$((c1 - c0 - (l1 - l0))) script_daemons=$((d1 - d0 - idle))

looks() { curl --silent --fail http://127.0.0.1:9798/metrics | awk '/^multihead_looks_total{service="mariadb"}/ { print $2 }'; }
systemctl start multihead-agent
sleep 12
n0=$(looks) a0=$(used multihead-agent.service) d0=$(used "${daemons[@]}")
sleep "$seconds"
n1=$(looks) a1=$(used multihead-agent.service) d1=$(used "${daemons[@]}")
agents=$((n1 - n0)) agent=$((a1 - a0)) agent_daemons=$((d1 - d0 - idle))

LC_ALL=C awk -v s="$seconds" -v n="$scripts" -v f="$failed" -v c="$script" -v cd="$script_daemons" \
    -v m="$agents" -v a="$agent" -v ad="$agent_daemons" -v idle="$idle" 'BEGIN {
    printf "{\"seconds\": %d, \"daemons_idle_ms_per_s\": %.2f,\n", s, idle / 1000 / s
    printf " \"script\": {\"verdicts\": %d, \"failed\": %d, \"client_ms\": %.2f, \"daemons_ms\": %.2f},\n", n, f, c / 1000 / n, cd / 1000 / n
    printf " \"agent\": {\"verdicts\": %d, \"process_ms\": %.2f, \"daemons_ms\": %.2f},\n", m, a / 1000 / m, ad / 1000 / m
    printf " \"ratio\": %.1f, \"ratio_with_daemons\": %.1f}\n", (c / n) / (a / m), ((c + cd) / n) / ((a + ad) / m)
}'
