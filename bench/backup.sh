#!/usr/bin/env bash
# backup.sh BIN: a snapshot of a cluster under load, and what a person would do by
# hand with the same data in the same run: mariadb-dump | gzip, redis-cli --rdb of
# every master, and tar of the volume, one after the other on one head.
#
# How much there is comes from the environment: BACKUP_DB_MB (of the database's
# rows, 64), BACKUP_KEYS (of Redis, 5000), BACKUP_VOLUME_MB (64), BACKUP_JOBS (of
# Slurm's history, 50), BACKUP_HEADS (3). With 2048, 200000 and 2048 it is the size
# that the project asks for, and takes some 40 GB of disk. BACKUP_RESTORE=1 brings
# the last snapshot back as a whole in the end, and compares.
#
# Rows compress by a half, as text does; of each file a half is text, and the rest
# not to be compressed, as pictures and archives are.
#
# A client moves money between accounts and writes a row, in one transaction, through
# the virtual address all the time; the longest time between two that were acknowledged
# is reported for each side. Then 1 % of the rows, of
# the keys and of the volume's bytes are changed, and both sides are measured
# again. It judges nothing; anything else that runs on the machine is in the
# numbers, and the load is printed beside them.
#
# Of multihead two times are reported: until the snapshot is stored, encrypted and
# deduplicated, on the head that makes it (what the baseline's files are), and until
# every head has a copy, and all copies were read back and compared.
set -euo pipefail
[ $# -eq 1 ] || {
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2
    exit 2
}
bin=$(realpath "$1")
db=${BACKUP_DB_MB:-64} keys=${BACKUP_KEYS:-5000} volume=${BACKUP_VOLUME_MB:-64} jobs=${BACKUP_JOBS:-50} heads=${BACKUP_HEADS:-3}
lab=bbk$$
work=$(mktemp -d)
cleanup() {
    trap - EXIT INT TERM
    "$bin" lab down --name "$lab" -q >"$work/down" 2>&1 || cat "$work/down" >&2
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
note() { printf '%s  load %s  %s\n' "$(date +%T)" "$(cut -d' ' -f1 /proc/loadavg)" "$*" >&2; }
mh() { "$bin" "--lab=$lab" -f "$work/cluster.yaml" "$@"; }
on() {
    local host=$1
    shift
    "$bin" lab exec --name "$lab" "$host" -- "$@" </dev/null
}
# The disks are sparse: what is not written takes no place.
gb=$(((db * 6 + volume * 5) / 1024 + 8))
"$bin" lab up --name "$lab" --heads "$heads" --compute 1 --data "${gb}G" --system "$((gb + 8))G" -q >/dev/null
dir=$(dirname "$("$bin" lab list | awk -v l="$lab" '$1 == l { print $NF }')")
awk '{ print } /^    directories:/ { print "  backup:\n    enabled: true\n    retention: {daily: 7}\n    items: [configs, databases, slurm_state, glusterfs_meta, volume]" }' \
    "$dir/my_multihead_cluster.yaml" >"$work/cluster.yaml"
chmod 600 "$work/cluster.yaml"
grep -q 'items: \[configs' "$work/cluster.yaml"
# shellcheck disable=SC1091 # written by the lab
. "$dir/secrets.env"
vip=192.0.2.100 # of every lab
note "forming the cluster"
mh up --yes -q >"$work/up" 2>&1 || {
    tail -n 20 "$work/up" >&2
    exit 1
}

note "filling: $db MB of rows, $keys keys, $volume MB of files"
# Rows of 2 KB that compress as text does, by a half.
on server1 mariadb -e "CREATE DATABASE bench; CREATE TABLE bench.log (id BIGINT AUTO_INCREMENT PRIMARY KEY, at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP(3));
CREATE USER client@'%' IDENTIFIED BY 'lab'; GRANT ALL ON bench.* TO client@'%';
CREATE TABLE bench.bank (id INT PRIMARY KEY, balance INT); USE bench; INSERT INTO bench.bank SELECT seq, 100 FROM seq_1_to_1000;
CREATE TABLE bench.rows (id BIGINT AUTO_INCREMENT PRIMARY KEY, a CHAR(40), b TEXT)"
for ((i = 0; i < db; i += 16)); do
    on server1 mariadb bench -e "INSERT INTO \`rows\` (a, b) SELECT SHA1(RAND()), HEX(RANDOM_BYTES(1000)) FROM seq_1_to_8000"
done
on server1 env "REDISCLI_AUTH=$REDIS_PASSWORD" bash -c "for i in \$(seq $keys); do echo SET key:\$i value-\$i-\$RANDOM\$RANDOM\$RANDOM\$RANDOM; done | redis-cli -c >/dev/null"
# A history of jobs that ended, and a queue of some that wait.
on server1 sbatch --array="1-$jobs" --output=/dev/null --wrap=true >/dev/null
for _ in 1 2 3 4 5; do on server1 sbatch --hold --output=/dev/null --wrap=true >/dev/null; done
# Files of 4 MB, half of each random, half text.
on server1 bash -c "mkdir -p /mnt/gluster/uploads && cd /mnt/gluster/uploads && for i in \$(seq $((volume / 4))); do { head -c 2097152 /dev/urandom; head -c 1048576 /dev/urandom | od -An -v -tx1 | tr -d ' \n' ; } > f\$i; done"

# client FILE writes rows through the virtual address until /run/stop is there, and
# leaves how many, how many failed and the longest gap in ms.
client() {
    on server2 rm -f /run/stop
    on server2 bash -c "n=0 bad=0 gap=0 last=\$(date +%s%3N)
while [ ! -e /run/stop ]; do
    if mariadb --connect-timeout=2 -h $vip -u client -plab bench -e \"BEGIN; UPDATE bank SET balance=balance-1 WHERE id=\$((RANDOM%500+1)); UPDATE bank SET balance=balance+1 WHERE id=\$((RANDOM%500+501)); INSERT INTO log () VALUES (); COMMIT\" 2>/dev/null; then
        now=\$(date +%s%3N); [ \$((now-last)) -gt \$gap ] && gap=\$((now-last)); last=\$now n=\$((n+1))
    else bad=\$((bad+1)); fi
done; echo \$n \$bad \$gap" >"$1" &
}
stop() {
    on server2 touch /run/stop
    wait
}

# baseline NAME: on the head that multihead would choose, too.
baseline() {
    client "$work/client"
    local began=$EPOCHREALTIME
    # shellcheck disable=SC2016 # expanded there
    on server3 env "REDISCLI_AUTH=$REDIS_PASSWORD" bash -c 'set -e -o pipefail; rm -rf /data/byhand; mkdir /data/byhand; cd /data/byhand; a=$EPOCHREALTIME
mariadb-dump --single-transaction --quick --routines --triggers --events --all-databases | gzip > all.sql.gz; b=$EPOCHREALTIME
for m in $(redis-cli -h 127.0.0.1 CLUSTER NODES | awk "\$3 ~ /master/ { sub(/@.*/, \"\", \$2); print \$2 }"); do redis-cli -h ${m%:*} -p ${m#*:} --rdb redis_${m%:*}.rdb >/dev/null 2>&1; done; c=$EPOCHREALTIME
tar -C /mnt/gluster -cf volume.tar . || [ $? -eq 1 ]; sync -f .
awk -v a=$a -v b=$b -v c=$c -v d=$EPOCHREALTIME "BEGIN { printf \"dump and gzip %.1f, Redis %.1f, tar %.1f\", b-a, c-b, d-c }"' >"$work/parts"
    took=$(LC_ALL=C awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
    stop
    bytes=$(on server3 du -sb /data/byhand | cut -f1)
    # Not in the way of what is measured next.
    on server3 rm -rf /data/byhand
    byhand=$took
    printf '%-11s by hand     %7s s %37s   %6d MB   %s\n' "$1" "$took" "" "$((bytes / 1000000))" "$(told)"
    printf '            steps: %s; load %s\n' "$(cat "$work/parts")" "$(cut -d' ' -f1 /proc/loadavg)"
}
told() { awk '{ printf "client: %d rows, %d failed, longest gap %d ms", $1, $2, $3 }' "$work/client"; }

snapshot() {
    local before after
    before=$(on server3 du -sb /data/system_backup | cut -f1)
    client "$work/client"
    local began=$EPOCHREALTIME
    mh backup create >"$work/create" 2>&1 || {
        tail -n 20 "$work/create" >&2
        stop
        exit 1
    }
    took=$(LC_ALL=C awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
    stop
    after=$(on server3 du -sb /data/system_backup | cut -f1)
    mh runs show last -o json >"$work/run"
    # Everything up to the step that stores it; they are of one head, one after the other.
    local stored
    stored=$(jq '[.did[] | select(.step | test("^backup\\.(begin|configs|slurm|glusterfs|redis|databases|store)$")).seconds] | add | . * 10 | round / 10' "$work/run")
    printf '%-11s multihead   %7s s (stored on one head after %5s s)   %6d MB   %s\n' "$1" "$took" "$stored" "$(((after - before) / 1000000))" "$(told)"
    LC_ALL=C awk -v s="$stored" -v t="$took" -v h="$byhand" -v l="$(cut -d' ' -f1 /proc/loadavg)" 'BEGIN { printf "            ratio: stored %.2f, with all copies read back %.2f; load %s\n", s / h, t / h, l }'
    jq -r '"            steps: " + ([.did[] | "\(.step | ltrimstr("backup.")) \(.host) \(.seconds * 10 | round / 10)"] | join(", "))' "$work/run"
}

until [ "$(on server1 squeue --noheader --format=%A | wc -l)" -eq 5 ]; do :; done
on server3 mkdir -p /data/system_backup
note "first: by hand"
baseline first
note "first: multihead"
snapshot first
note "changing 1 %"
# shellcheck disable=SC2016 # a name of SQL's
rows=$(on server1 mariadb -N bench -e 'SELECT MAX(id) FROM `rows`')
# One row goes as well, at the beginning: what comes after it is the same data still.
on server1 mariadb bench -e "DELETE FROM \`rows\` ORDER BY id LIMIT 1; UPDATE \`rows\` SET a = SHA1(RAND()), b = HEX(RANDOM_BYTES(1000)) WHERE id BETWEEN $((rows / 2)) AND $((rows / 2 + rows / 100))"
on server1 env "REDISCLI_AUTH=$REDIS_PASSWORD" bash -c "for i in \$(seq $((keys / 100 + 1))); do echo SET key:\$i changed-\$RANDOM; done | redis-cli -c >/dev/null"
on server1 bash -c "cd /mnt/gluster/uploads && for i in \$(seq $((volume / 400 + 1))); do head -c 4194304 /dev/urandom > f\$i; done"
note "again, with 1 % changed: by hand"
baseline '1 % changed'
note "again, with 1 % changed: multihead"
snapshot '1 % changed'
# What belongs together is of one moment, and whole.
mh backup verify --latest
[ "${BACKUP_RESTORE:-0}" = 1 ] || exit 0

# is what there is to be compared: the rows that nobody changed since, the bank's
# total, the keys, the queue and the files.
is() {
    # shellcheck disable=SC2016 # names of SQL's
    on server1 mariadb -N bench -e 'CHECKSUM TABLE `rows`; SELECT COUNT(*), SUM(balance) FROM bank'
    on server1 env "REDISCLI_AUTH=$REDIS_PASSWORD" redis-cli --no-auth-warning --cluster call 192.0.2.11:6379 DBSIZE --cluster-only-masters | awk '/:/ { n += $NF } END { print n, "keys" }'
    on server1 squeue --noheader --format=%A | sort -n
    on server1 bash -c 'cd /mnt/gluster/uploads && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum'
}
is >"$work/was"
note "bringing all of it back"
# shellcheck disable=SC2016 # a name of SQL's
on server1 mariadb bench -e 'DELETE FROM `rows` WHERE id % 3 = 0; UPDATE bank SET balance = 0'
on server1 rm -rf /mnt/gluster/uploads/f1
began=$EPOCHREALTIME
mh restore --latest --all --yes --confirm "$(sed -n 's/^  cluster_name: //p' "$work/cluster.yaml" | head -n 1)" >"$work/restore" 2>&1 || {
    tail -n 20 "$work/restore" >&2
    exit 1
}
LC_ALL=C awk -v a="$began" -v b="$EPOCHREALTIME" -v l="$(cut -d' ' -f1 /proc/loadavg)" 'BEGIN { printf "restore --latest --all   %7.1f s; load %s\n", b - a, l }'
is >"$work/now"
diff "$work/was" "$work/now" && echo "            the bank's total, rows, keys, queue and files are equal"
