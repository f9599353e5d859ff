#!/usr/bin/env bash
# serial-up.sh SITE: bring bare-service hosts to one cluster the way a careful
# administrator does it by hand: plain ssh from the administrator's machine,
# one host and one step after the other. It is what `multihead up` is measured
# against (bench/run.sh), and ends in the same state with the same settings.
#
# It is written to be as quick as a serial script reasonably is:
#   - one ssh command per host and step, not one per line;
#   - ssh keeps one connection per host (ControlMaster; --no-mux turns it off);
#   - no sleep where a condition can be awaited, and conditions are asked five
#     times a second, on the host itself;
#   - what a tool can do for all hosts in one command it does in one: the
#     volume's options, and all eight Redis instances.
# What it does not do is what a serial script does not do: two hosts at once.
#
# Where the time goes, by --timings on four heads and two compute nodes: see
# bench/README.md.
#
# It forms a cluster and nothing else. It stops where it finds a database or a
# volume that belongs to one already.
#
# shellcheck disable=SC2034,SC2016 # variables are handed to `on` by name, and
# the pieces in single quotes are for the host's shell, not for this one
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=SCRIPTDIR/remote.sh
. "$here/remote.sh"

usage() {
    echo "usage: ${0##*/} [--no-mux] [--quick-sst] [--timings FILE] SITE" >&2
    exit 2
}
mux=yes timings=/dev/null SST_HELPER=''
while [ $# -gt 0 ]; do
    case $1 in
    --no-mux) mux=no ;;
    --quick-sst) SST_HELPER=$(cat "$here/../internal/service/galera/state-transfer.bash") ;;
    --timings)
        [ $# -gt 1 ] || usage
        timings=$2
        shift
        ;;
    -*) usage ;;
    *) break ;;
    esac
    shift
done
[ $# -eq 1 ] || usage

umask 077
work=$(mktemp -d)
load_site "$1"
if [ "$mux" = yes ]; then use_one_connection "$work"; fi
trap 'close_connections; rm -rf "$work"' EXIT

# step NAME COMMAND... runs a part and writes down how long it took, in
# seconds, as NAME<tab>SECONDS.
: >"$timings"
step() {
    local name=$1 began=$EPOCHREALTIME
    shift
    "$@"
    LC_ALL=C awk -v n="$name" -v a="$began" -v b="$EPOCHREALTIME" \
        'BEGIN { printf "%s\t%.2f\n", n, b - a }' | tee -a "$timings" |
        awk -F'\t' '{ printf "%-28s %6.2f s\n", $1, $2 }'
}

# Settings that several parts need.
HOSTS_BLOCK=''
HEAD_ADDRESSES=()
for name in "${ALL_NAMES[@]}"; do HOSTS_BLOCK+="${ADDRESS[$name]} $name"$'\n'; done
for name in "${HEAD_NAMES[@]}"; do HEAD_ADDRESSES+=("${ADDRESS[$name]}"); done
FIRST_ADDRESS=${HEAD_ADDRESSES[0]}
SECOND=${HEAD_NAMES[1]}
join_by() {
    local IFS=$1
    shift
    echo "$*"
}

# ------------------------------------------------------------------- prepare

look() {
    on "$1" <<'EOS'
for c in glusterd mariadbd redis-server slurmctld slurmdbd slurmd munged keepalived; do
    command -v "$c" >/dev/null || { echo "$(hostname): $c is not installed" >&2; exit 1; }
done
for f in /var/lib/mysql/grastate.dat /var/lib/redis/7000 /mnt/gluster/slurm; do
    [ ! -e "$f" ] || { echo "$(hostname): $f: this host belongs to a cluster already" >&2; exit 1; }
done
[ -z "$(ls -A /var/lib/glusterd/vols 2>/dev/null)" ] || { echo "$(hostname): has a Gluster volume already" >&2; exit 1; }
EOS
}

prepare() {
    local NAME=$1 ROLE=$2
    on "$1" NAME ROLE HOSTS_BLOCK HEAD_ADDRESSES SUBNET TIMEZONE MUNGE_KEY MUNGE_UID MUNGE_GID <<'EOS'
# Names: Debian's "127.0.1.1 HOSTNAME" would make daemons announce a loopback address.
sed -i '/^127\.0\.1\.1[[:space:]]/d' /etc/hosts
printf '%s' "$HOSTS_BLOCK" >>/etc/hosts

timedatectl set-timezone "$TIMEZONE"
{
    for a in "${HEAD_ADDRESSES[@]}"; do
        ip -brief address | grep -q "[[:space:]]$a/" || echo "server $a iburst"
    done
    if [ "$ROLE" = head ]; then
        echo "local stratum 10 orphan"
        echo "allow $SUBNET"
    fi
    echo "makestep 1 3"
} >/etc/chrony/conf.d/cluster.conf
chmod 644 /etc/chrony/conf.d/cluster.conf
systemctl enable --now --quiet chrony

# The same numbers on every host.
[ "$(id -g slurm)" = 64030 ] || groupmod -g 64030 slurm
[ "$(id -u slurm)" = 64030 ] || usermod -u 64030 slurm
[ "$(id -g munge)" = "$MUNGE_GID" ] || groupmod -g "$MUNGE_GID" munge
[ "$(id -u munge)" = "$MUNGE_UID" ] || usermod -u "$MUNGE_UID" munge
chown -R munge:munge /etc/munge /var/lib/munge /var/log/munge
printf '%s' "$MUNGE_KEY" | base64 -d >/etc/munge/munge.key
chown munge:munge /etc/munge/munge.key
chmod 400 /etc/munge/munge.key
systemctl enable --quiet munge
systemctl restart munge
EOS
}

# A credential made here must open there: same key, same clock, same numbers.
munge_proof() {
    local credential name
    credential=$(echo 'munge -n' | on "$FIRST")
    for name in "${ALL_NAMES[@]:1}"; do
        on "$name" credential <<<'printf "%s" "$credential" | unmunge >/dev/null'
    done
}

base() {
    local name ids
    for name in "${ALL_NAMES[@]}"; do look "$name"; done
    MUNGE_KEY=$(head -c 1024 /dev/urandom | base64 -w0)
    ids=$(echo 'id -u munge; id -g munge' | on "$FIRST")
    MUNGE_UID=${ids%%$'\n'*} MUNGE_GID=${ids##*$'\n'}
    for name in "${HEAD_NAMES[@]}"; do prepare "$name" head; done
    for name in "${COMPUTE_NAMES[@]}"; do prepare "$name" compute; done
    munge_proof
}

# ----------------------------------------------------------------- glusterfs

gluster_peers() {
    local name HEAD_COUNT=${#HEAD_NAMES[@]}
    for name in "${HEAD_NAMES[@]}"; do
        on "$name" <<<'mkdir -p /data/glusterfs/brick; systemctl enable --now --quiet glusterd'
    done
    on "$FIRST" HEAD_ADDRESSES HEAD_COUNT <<'EOS'
for a in "${HEAD_ADDRESSES[@]:1}"; do gluster --mode=script peer probe "$a" >/dev/null; done
connected() { [ "$(gluster --mode=script peer status | grep -c '(Connected)')" = $((HEAD_COUNT - 1)) ]; }
in_cluster() { [ "$(gluster --mode=script peer status | grep -c 'Peer in Cluster')" = $((HEAD_COUNT - 1)) ]; }
until_true connected
until_true in_cluster
EOS
}

gluster_volume() {
    on "$FIRST" HEAD_ADDRESSES <<'EOS'
bricks=()
for a in "${HEAD_ADDRESSES[@]}"; do bricks+=("$a:/data/glusterfs/brick"); done
g() { gluster --mode=script "$@" >/dev/null; }
g volume create shared_data replica "${#bricks[@]}" "${bricks[@]}"
g volume set shared_data network.ping-timeout 3 cluster.quorum-type auto \
    performance.quick-read off performance.io-cache off performance.flush-behind off \
    performance.read-ahead off cluster.heal-timeout 60
g volume start shared_data
online() { [ "$(gluster --mode=script volume status shared_data --xml | grep -c '<status>1</status>')" -ge "$(( ${#bricks[@]} ))" ]; }
until_true online
EOS
}

gluster_mounts() {
    local name
    for name in "${HEAD_NAMES[@]}"; do
        on "$name" HEAD_ADDRESSES <<'EOS'
mkdir -p /mnt/gluster
others=()
for a in "${HEAD_ADDRESSES[@]}"; do
    ip -brief address | grep -q "[[:space:]]$a/" || others+=("$a")
done
backup=$(IFS=:; echo "${others[*]}")
echo "localhost:/shared_data /mnt/gluster glusterfs defaults,_netdev,backup-volfile-servers=$backup 0 0" >>/etc/fstab
systemctl daemon-reload
mount /mnt/gluster
mountpoint -q /mnt/gluster
EOS
    done
    on "$FIRST" <<'EOS'
cd /mnt/gluster
mkdir -p frontend_builds slurm/state slurm/logs uploads config
chown slurm:slurm slurm slurm/state slurm/logs
chmod 755 slurm/state
EOS
}

# ------------------------------------------------------------------- mariadb

galera_config() {
    local name NODE_NAME NODE_ADDRESS GCOMM
    GCOMM=$(join_by , "${HEAD_ADDRESSES[@]}")
    for name in "${HEAD_NAMES[@]}"; do
        NODE_NAME=$name NODE_ADDRESS=${ADDRESS[$name]}
        on "$name" NODE_NAME NODE_ADDRESS GCOMM CLUSTER_NAME DB_SST_PASSWORD SST_HELPER <<'EOS'
if [ -n "$SST_HELPER" ]; then
    printf '%s\n' "$SST_HELPER" >/usr/local/lib/state-transfer.bash
    mkdir -p /etc/systemd/system/mariadb.service.d
    printf '[Service]\nEnvironment=BASH_ENV=/usr/local/lib/state-transfer.bash\n' >/etc/systemd/system/mariadb.service.d/sst.conf
    systemctl daemon-reload
fi
umask 077
cat >/etc/mysql/mariadb.conf.d/90-cluster.cnf <<EOC
[mariadbd]
bind-address = 0.0.0.0
[galera]
wsrep_on = ON
wsrep_provider = /usr/lib/galera/libgalera_smm.so
wsrep_cluster_name = $CLUSTER_NAME
wsrep_cluster_address = gcomm://$GCOMM
wsrep_node_name = $NODE_NAME
wsrep_node_address = $NODE_ADDRESS
wsrep_slave_threads = 2
wsrep_sst_method = mariabackup
wsrep_sst_auth = sst_sync:$DB_SST_PASSWORD
wsrep_provider_options = "evs.keepalive_period=PT0.5S;evs.inactive_check_period=PT0.5S;evs.suspect_timeout=PT2S;evs.inactive_timeout=PT10S;evs.install_timeout=PT10S;gcache.size=128M;gcache.recover=yes"
binlog_format = ROW
default_storage_engine = InnoDB
innodb_autoinc_lock_mode = 2
innodb_flush_log_at_trx_commit = 1
innodb_lock_wait_timeout = 900
EOC
chown root:mysql /etc/mysql/mariadb.conf.d/90-cluster.cnf
chmod 640 /etc/mysql/mariadb.conf.d/90-cluster.cnf
EOS
    done
}

galera_bootstrap() {
    on "$FIRST" DB_ROOT_PASSWORD DB_SST_PASSWORD DB_SLURM_PASSWORD DB_AUTH_PASSWORD <<'EOS'
galera_new_cluster
systemctl enable --quiet mariadb
mariadb <<EOC
ALTER USER root@localhost IDENTIFIED VIA unix_socket OR mysql_native_password USING PASSWORD('$DB_ROOT_PASSWORD');
CREATE USER sst_sync@localhost IDENTIFIED BY '$DB_SST_PASSWORD';
GRANT RELOAD, PROCESS, LOCK TABLES, BINLOG MONITOR, REPLICA MONITOR ON *.* TO sst_sync@localhost;
CREATE DATABASE slurm_acct_db;
CREATE DATABASE auth_portal;
CREATE USER slurm@'%' IDENTIFIED BY '$DB_SLURM_PASSWORD';
CREATE USER slurm@localhost IDENTIFIED BY '$DB_SLURM_PASSWORD';
GRANT ALL ON slurm_acct_db.* TO slurm@'%';
GRANT ALL ON slurm_acct_db.* TO slurm@localhost;
CREATE USER auth_user@'%' IDENTIFIED BY '$DB_AUTH_PASSWORD';
CREATE USER auth_user@localhost IDENTIFIED BY '$DB_AUTH_PASSWORD';
GRANT ALL ON auth_portal.* TO auth_user@'%';
GRANT ALL ON auth_portal.* TO auth_user@localhost;
EOC
EOS
}

# Each copy takes at least 10 s: MariaDB's script on the donor sleeps that long
# before it sends. multihead has found a way around that, an administrator with
# the distribution's packages has not; --quick-sst lends it to this script, to
# see what is left of the difference.
#
# A unit of MariaDB is started when its state transfer is done, so the start is
# the wait.
galera_join() {
    local WANT=$2
    on "$1" WANT <<'EOS'
systemctl enable --now --quiet mariadb
status() { mariadb -NBe "SHOW STATUS LIKE '$1'" | cut -f2; }
joined() { [ "$(status wsrep_cluster_size)" = "$WANT" ] && [ "$(status wsrep_local_state_comment)" = Synced ]; }
until_true joined
EOS
}

# --------------------------------------------------------------------- redis

# Two instances on each head, so that every master has its replica on another.
redis_instances() {
    local name
    for name in "${HEAD_NAMES[@]}"; do
        on "$name" REDIS_PASSWORD <<'EOS'
for port in 6379 6380; do
    conf=/etc/redis/redis-cluster-$port.conf
    install -m 640 -o redis -g redis /dev/null "$conf"
    install -d -m 750 -o redis -g redis "/var/lib/redis/$port"
    cat >"$conf" <<EOC
bind 0.0.0.0
port $port
protected-mode yes
dir /var/lib/redis/$port
logfile /var/log/redis/redis-cluster-$port.log
cluster-enabled yes
cluster-config-file nodes.conf
cluster-node-timeout 2000
cluster-require-full-coverage no
cluster-allow-replica-migration no
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
repl-diskless-sync-delay 0
repl-backlog-size 64mb
requirepass $REDIS_PASSWORD
masterauth $REDIS_PASSWORD
EOC
    systemctl enable --now --quiet "redis-server@cluster-$port"
done
EOS
    done
}

redis_cluster() {
    on "$FIRST" HEAD_ADDRESSES REDIS_PASSWORD <<'EOS'
export REDISCLI_AUTH=$REDIS_PASSWORD
nodes=()
for port in 6379 6380; do for a in "${HEAD_ADDRESSES[@]}"; do nodes+=("$a:$port"); done; done
redis-cli --cluster create "${nodes[@]}" --cluster-replicas 1 --cluster-yes >/dev/null
ok() { redis-cli cluster info | grep -q cluster_state:ok; }
until_true ok
for n in "${nodes[@]}"; do
    synced() { ! redis-cli -h "${n%:*}" -p "${n#*:}" info replication | grep -q master_link_status:down; }
    until_true synced
done
EOS
}

# --------------------------------------------------------------------- slurm

slurm_config() {
    local name line SLURM_CONF
    SLURM_CONF="ClusterName=${CLUSTER_NAME//-/_}"$'\n'
    for name in "${HEAD_NAMES[@]}"; do SLURM_CONF+="SlurmctldHost=$name(${ADDRESS[$name]})"$'\n'; done
    SLURM_CONF+='SlurmUser=slurm
AuthType=auth/munge
StateSaveLocation=/mnt/gluster/slurm/state
SlurmdSpoolDir=/var/spool/slurmd
SlurmctldLogFile=/var/log/slurm/slurmctld.log
SlurmdLogFile=/var/log/slurm/slurmd.log
SlurmctldParameters=enable_configless
SlurmctldTimeout=5
SlurmdTimeout=300
ReturnToService=1
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=30
AccountingStorageType=accounting_storage/slurmdbd
AccountingStoragePort=6819
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
PriorityType=priority/multifactor
'
    SLURM_CONF+="AccountingStorageHost=$FIRST"$'\n'"AccountingStorageBackupHost=$SECOND"$'\n'
    for name in "${COMPUTE_NAMES[@]}"; do
        line="NodeName=$name NodeAddr=${ADDRESS[$name]} CPUs=2 Sockets=1 CoresPerSocket=2 ThreadsPerCore=1 RealMemory=1024 State=UNKNOWN"
        SLURM_CONF+=$line$'\n'
    done
    SLURM_CONF+="PartitionName=normal Nodes=$(join_by , "${COMPUTE_NAMES[@]}") Default=YES MaxTime=1-00:00:00 State=UP"$'\n'
    for name in "${HEAD_NAMES[@]}"; do
        on "$name" SLURM_CONF <<'EOS'
install -d -o slurm -g slurm -m 755 /var/log/slurm
printf '%s' "$SLURM_CONF" >/etc/slurm/slurm.conf
echo CgroupPlugin=disabled >/etc/slurm/cgroup.conf
chmod 644 /etc/slurm/slurm.conf /etc/slurm/cgroup.conf
EOS
    done
}

# One slurmdbd serves, with the database of its own head, and the next one stands
# by. The first makes the tables.
slurm_dbd() {
    local name
    for name in "$FIRST" "$SECOND"; do
        on "$name" FIRST FIRST_ADDRESS SECOND DB_SLURM_PASSWORD <<'EOS'
install -m 600 -o slurm -g slurm /dev/null /etc/slurm/slurmdbd.conf
cat >/etc/slurm/slurmdbd.conf <<EOC
AuthType=auth/munge
DbdHost=$FIRST
DbdAddr=$FIRST_ADDRESS
DbdBackupHost=$SECOND
DbdPort=6819
CommunicationParameters=keepalivetime=3,keepaliveinterval=1,keepaliveprobes=3
SlurmUser=slurm
LogFile=/var/log/slurm/slurmdbd.log
PidFile=/run/slurmdbd/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StoragePass=$DB_SLURM_PASSWORD
StorageLoc=slurm_acct_db
EOC
systemctl enable --now --quiet slurmdbd
until_true sacctmgr -n show cluster
EOS
    done
}

# The primary first and alone, then its backups, which take some seconds until
# they answer: all are started before that is awaited, once. None is started at
# boot: first the volume has to be there.
slurm_ctld() {
    local name HEAD_COUNT=${#HEAD_NAMES[@]}
    on "$FIRST" <<<'systemctl start slurmctld; until_true sinfo'
    for name in "${HEAD_NAMES[@]:1}"; do
        on "$name" <<<'systemctl start slurmctld'
    done
    on "$FIRST" HEAD_COUNT <<'EOS'
all_up() { [ "$(scontrol ping | grep -c 'is UP')" = "$HEAD_COUNT" ]; }
until_true all_up
EOS
}

slurm_d() {
    local name SERVERS
    SERVERS=$(join_by , "${HEAD_ADDRESSES[@]/%/:6817}")
    for name in "${COMPUTE_NAMES[@]}"; do
        on "$name" SERVERS <<'EOS'
install -d -o slurm -g slurm -m 755 /var/log/slurm
echo "SLURMD_OPTIONS=\"--conf-server $SERVERS\"" >/etc/default/slurmd
systemctl enable --now --quiet slurmd
EOS
    done
}

# ---------------------------------------------------------------- keepalived

keepalived_config() {
    local name PRIORITY=100 NODE_ADDRESS
    for name in "${HEAD_NAMES[@]}"; do
        NODE_ADDRESS=${ADDRESS[$name]}
        on "$name" PRIORITY NODE_ADDRESS HEAD_ADDRESSES VIP VIP_BITS <<'EOS'
interface=$(ip -brief address | awk -v a="$NODE_ADDRESS/" '{for (i = 3; i <= NF; i++) if (index($i, a) == 1) {sub(/@.*/, "", $1); print $1}}')
cat >/etc/keepalived/keepalived.conf <<EOC
global_defs {
    vrrp_version 3
}
vrrp_instance cluster {
    state BACKUP
    interface $interface
    virtual_router_id 51
    priority $PRIORITY
    advert_int 0.2
    garp_master_delay 1
    unicast_src_ip $NODE_ADDRESS
    unicast_peer {
$(for a in "${HEAD_ADDRESSES[@]}"; do [ "$a" = "$NODE_ADDRESS" ] || echo "        $a"; done)
    }
    virtual_ipaddress {
        $VIP/$VIP_BITS dev $interface
    }
}
EOC
chmod 640 /etc/keepalived/keepalived.conf
keepalived -t
systemctl enable --now --quiet keepalived
EOS
        PRIORITY=$((PRIORITY - 1))
    done
}

# -------------------------------------------------------------------- verify

verify() {
    local name HEAD_COUNT=${#HEAD_NAMES[@]} NODES=${#COMPUTE_NAMES[@]} holders=0
    on "$FIRST" HEAD_COUNT NODES VIP REDIS_PASSWORD <<'EOS'
export REDISCLI_AUTH=$REDIS_PASSWORD
idle() { [ "$(sinfo -h -N -t idle -o %N | sort -u | wc -l)" = "$NODES" ]; }
until_true idle
[ "$(mariadb -NBe "SHOW STATUS LIKE 'wsrep_cluster_size'" | cut -f2)" = "$HEAD_COUNT" ]
[ "$(mariadb -NBe "SHOW STATUS LIKE 'wsrep_cluster_status'" | cut -f2)" = Primary ]
redis-cli cluster info | grep -q cluster_slots_ok:16384
vip() { ip -brief address | grep -q "[[:space:]]$VIP/"; }
until_true vip
EOS
    for name in "${HEAD_NAMES[@]}"; do
        if on "$name" VIP <<<'ip -brief address | grep -q "[[:space:]]$VIP/"'; then holders=$((holders + 1)); fi
    done
    [ "$holders" = 1 ] || {
        echo "$holders heads hold $VIP" >&2
        return 1
    }
}

step base base
step gluster-peers gluster_peers
step gluster-volume gluster_volume
step gluster-mounts gluster_mounts
step galera-config galera_config
step galera-bootstrap galera_bootstrap
size=1
for name in "${HEAD_NAMES[@]:1}"; do
    size=$((size + 1))
    step "galera-join-$size" galera_join "$name" "$size"
done
step redis-instances redis_instances
step redis-cluster redis_cluster
step slurm-config slurm_config
step slurmdbd slurm_dbd
step slurmctld slurm_ctld
step slurmd slurm_d
step keepalived keepalived_config
step verify verify
