#!/usr/bin/env bash
# serial-discover.sh [--mux] SITE: the auto_discovery.sh of the sites' old
# plan, as they would have written it: for every controller, one after the
# other, reach it over ssh with a limit of 5 seconds, then ask each service
# with an ssh command of its own, and print the result as JSON. It is what
# `multihead discover` is measured against (bench/run.sh).
#
# The plan knows no ControlMaster, so by default each command makes its own
# connection; --mux is the same loop with one connection per host, for those
# who would have thought of it. What asks nothing of the web tier here is the
# cluster file: its heads run none (web: false).
#
# shellcheck disable=SC2016 # for the host's shell
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=SCRIPTDIR/remote.sh
. "$here/remote.sh"

mux=no
if [ "${1-}" = --mux ]; then
    mux=yes
    shift
fi
[ $# -eq 1 ] || {
    echo "usage: ${0##*/} [--mux] SITE" >&2
    exit 2
}
umask 077
work=$(mktemp -d)
load_site "$1"
trap 'rm -rf "$work"' EXIT
if [ "$mux" = yes ]; then
    use_one_connection "$work"
    trap 'close_connections; rm -rf "$work"' EXIT
fi

# ask HOST COMMAND: one ssh command of its own.
ask() { "${SSH[@]}" -n "root@${ADDRESS[$1]}" "$2"; }

field() { awk -F'[:\t\r]' -v k="$1" '$1 == k { print $2; exit }'; }
number() { case $1 in '' | *[!0-9]*) echo 0 ;; *) echo "$1" ;; esac; }

total=0 active=0 troubled=0 owner='' controllers=''
for name in "${HEAD_NAMES[@]}"; do
    total=$((total + 1))
    entry="\"hostname\": \"$name\", \"ip\": \"${ADDRESS[$name]}\""
    if ! up=$(ask "$name" 'cat /proc/uptime /proc/loadavg' 2>"$work/error"); then
        why=$(tr -d '"\\\r' <"$work/error" | tr '\n' ' ')
        controllers+="${controllers:+, }{$entry, \"status\": \"inactive\", \"error\": \"${why% }\"}"
        continue
    fi
    active=$((active + 1))
    seconds=${up%%.*}
    load=$(awk 'NR == 2 { print $1 }' <<<"$up")

    peers=0 gluster=error
    if said=$(ask "$name" 'gluster --mode=script peer status' 2>/dev/null); then
        gluster=ok
        peers=$(grep -c '(Connected)' <<<"$said" || true)
    fi

    size=0 state='' mariadb=error
    if said=$(ask "$name" "mariadb -NBe \"SHOW STATUS LIKE 'wsrep%'\"" 2>/dev/null); then
        size=$(number "$(field wsrep_cluster_size <<<"$said")")
        state=$(field wsrep_local_state_comment <<<"$said")
        if [ "$state" = Synced ]; then mariadb=ok; fi
    fi

    redis_state='' nodes=0 redis=error
    if said=$(echo 'export REDISCLI_AUTH=$REDIS_PASSWORD; redis-cli cluster info' | on "$name" REDIS_PASSWORD 2>/dev/null); then
        redis_state=$(field cluster_state <<<"$said")
        nodes=$(number "$(field cluster_known_nodes <<<"$said")")
        if [ "$redis_state" = ok ]; then redis=ok; fi
    fi

    role='' slurm=error
    if said=$(ask "$name" 'scontrol ping' 2>/dev/null); then
        line=$(grep " at $name is UP" <<<"$said" || true)
        case $line in
        *'(primary)'*) role=primary slurm=ok ;;
        *'(backup'*) role=backup slurm=ok ;;
        esac
    fi

    vip=false keepalived=error
    if said=$(ask "$name" 'systemctl is-active --quiet keepalived && ip -brief address' 2>/dev/null); then
        keepalived=ok
        if grep -q "[[:space:]]$VIP/" <<<"$said"; then vip=true owner=$name; fi
    fi

    case "$gluster$mariadb$redis$slurm$keepalived" in *error*) troubled=$((troubled + 1)) ;; esac
    services="\"glusterfs\": {\"status\": \"$gluster\", \"peers\": $peers}"
    services+=", \"mariadb\": {\"status\": \"$mariadb\", \"cluster_size\": $size, \"state\": \"$state\"}"
    services+=", \"redis\": {\"status\": \"$redis\", \"cluster_state\": \"$redis_state\", \"nodes\": $nodes}"
    services+=", \"slurm\": {\"status\": \"$slurm\", \"controller\": \"$role\"}"
    services+=", \"keepalived\": {\"status\": \"$keepalived\", \"vip\": $vip}"
    controllers+="${controllers:+, }{$entry, \"status\": \"active\", \"services\": {$services}"
    controllers+=", \"uptime\": \"$((seconds / 86400)) days\", \"load\": $load}"
done

cluster=healthy
if [ "$active" = 0 ]; then
    cluster=down
elif [ "$active" != "$total" ] || [ "$troubled" != 0 ]; then
    cluster=degraded
fi
cat <<EOF
{"total_controllers": $total, "active_controllers": $active, "inactive_controllers": $((total - active)),
 "controllers": [$controllers],
 "vip_owner": "$owner", "cluster_state": "$cluster"}
EOF
