#!/usr/bin/env bash
# accept.sh SITE: is this a working cluster? The same questions to the services
# themselves, whoever formed it: bench/run.sh asks them of both sides after the
# clock has stopped, so that neither is quick by leaving something out. It
# waits for nothing that forming should have waited for, except the job it
# submits itself.
#
# shellcheck disable=SC2016,SC2034,SC2317 # as in serial-up.sh; the checks are called by name
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=SCRIPTDIR/remote.sh
. "$here/remote.sh"

[ $# -eq 1 ] || {
    echo "usage: ${0##*/} SITE" >&2
    exit 2
}
umask 077
work=$(mktemp -d)
load_site "$1"
use_one_connection "$work"
trap 'close_connections; rm -rf "$work"' EXIT

HEAD_COUNT=${#HEAD_NAMES[@]}
NODE_COUNT=${#COMPUTE_NAMES[@]}
failed=0
check() {
    local what=$1
    shift
    # Not `if "$@"`: there a command that fails inside a check would not end it.
    ("$@") >"$work/said" 2>&1 &
    if wait $!; then
        printf 'ok    %s\n' "$what"
    else
        printf 'FAIL  %s\n' "$what"
        sed 's/^/      /' "$work/said"
        failed=1
    fi
}

galera() {
    on "$1" HEAD_COUNT <<'EOS'
status() { mariadb -NBe "SHOW STATUS LIKE '$1'" | cut -f2; }
s="$(status wsrep_cluster_size) $(status wsrep_cluster_status) $(status wsrep_local_state_comment) $(status wsrep_ready)"
echo "$s"
[ "$s" = "$HEAD_COUNT Primary Synced ON" ]
EOS
}

row_crosses() {
    local value=$RANDOM name
    on "$FIRST" value <<<'mariadb auth_portal -e "CREATE TABLE bench_accept (v INT PRIMARY KEY); INSERT INTO bench_accept VALUES ($value)"'
    for name in "${HEAD_NAMES[@]:1}"; do
        on "$name" value <<<'[ "$(mariadb auth_portal -NBe "SET SESSION wsrep_sync_wait = 1; SELECT v FROM bench_accept")" = "$value" ]'
    done
    on "$FIRST" <<<'mariadb auth_portal -e "DROP TABLE bench_accept"'
}

accounts() {
    on "$1" DB_SLURM_PASSWORD DB_AUTH_PASSWORD <<'EOS'
MYSQL_PWD=$DB_SLURM_PASSWORD mariadb -h 127.0.0.1 -u slurm slurm_acct_db -e 'SELECT 1'
MYSQL_PWD=$DB_AUTH_PASSWORD mariadb -h 127.0.0.1 -u auth_user auth_portal -e 'SELECT 1'
EOS
}

# Every slot served, and for every master a replica in step on another head.
redis() {
    on "$FIRST" REDIS_PASSWORD HEAD_COUNT <<'EOS'
export REDISCLI_AUTH=$REDIS_PASSWORD
redis-cli cluster info | grep cluster_state:ok
redis-cli cluster info | grep cluster_slots_ok:16384
redis-cli cluster nodes >/tmp/bench-nodes
cat /tmp/bench-nodes
awk '{ split($2, a, ":"); host[$1] = a[1]; if ($3 ~ /master/) master[$1] = 1; else if ($8 == "connected") of[$1] = $4 }
END {
    for (r in of) if (host[r] != host[of[r]]) safe[of[r]] = 1
    for (m in master) { masters++; if (m in safe) good++ }
    exit !(masters == '"$HEAD_COUNT"' && good == masters)
}' /tmp/bench-nodes
while read -r _ node _; do
    node=${node%%@*}
    if redis-cli -h "${node%:*}" -p "${node##*:}" info replication | grep master_link_status:down; then exit 1; fi
done </tmp/bench-nodes
rm /tmp/bench-nodes
EOS
}

file_crosses() {
    local value=$RANDOM name
    on "$FIRST" value <<<'mountpoint -q /mnt/gluster; echo "$value" >/mnt/gluster/uploads/.bench'
    for name in "${HEAD_NAMES[@]:1}"; do
        on "$name" value <<<'mountpoint -q /mnt/gluster; [ "$(cat /mnt/gluster/uploads/.bench)" = "$value" ]'
    done
    on "$FIRST" <<<'rm /mnt/gluster/uploads/.bench'
}

bricks() {
    on "$FIRST" HEAD_COUNT <<'EOS'
gluster --mode=script volume info shared_data | tee /dev/stderr | grep -q "1 x $HEAD_COUNT = $HEAD_COUNT"
[ "$(gluster --mode=script volume status shared_data | grep -c '^Brick.* Y ')" = "$HEAD_COUNT" ]
EOS
}

slurm_ping() { on "$FIRST" HEAD_COUNT <<<'scontrol ping; [ "$(scontrol ping | grep -c "is UP")" = "$HEAD_COUNT" ]'; }
slurm_idle() { on "$FIRST" NODE_COUNT <<<'sinfo; [ "$(sinfo -h -N -t idle -o %N | sort -u | wc -l)" = "$NODE_COUNT" ]'; }

# A job submitted here runs, and this head's accounting says so.
job() {
    on "$1" <<'EOS'
cd /tmp
id=$(sbatch --parsable -o /dev/null --wrap hostname)
done_() { sacct -nX -j "$id" -o state | grep -q COMPLETED; }
until_true done_
EOS
}

vip() {
    local name holders=0
    for name in "${HEAD_NAMES[@]}"; do
        if on "$name" VIP <<<'ip -brief address | grep -q "[[:space:]]$VIP/"'; then holders=$((holders + 1)); fi
    done
    echo "$holders hold it"
    [ "$holders" = 1 ]
    on "${COMPUTE_NAMES[0]}" VIP <<<'ping -c 1 -W 1 "$VIP"'
}

for name in "${HEAD_NAMES[@]}"; do
    check "$name: Galera of $HEAD_COUNT, Primary and Synced" galera "$name"
    check "$name: both databases open with their users' passwords" accounts "$name"
done
check "a row written on $FIRST is read on the others" row_crosses
check "Redis: all slots, each master with a replica on another head" redis
check "volume: a brick online on every head" bricks
check "a file written on $FIRST is read on the others" file_crosses
check "slurmctld on every head answers" slurm_ping
check "compute nodes idle" slurm_idle
for name in "${HEAD_NAMES[@]}"; do check "$name: sbatch runs and sacct shows it" job "$name"; done
check "the virtual address: one holder, seen from ${COMPUTE_NAMES[0]}" vip
exit $failed
