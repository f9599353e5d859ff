# shellcheck shell=bash
# shellcheck disable=SC2034 # FIRST and the like are for the scripts that source this
# What both serial scripts share: reading the site file and running a piece of
# shell on one host over plain ssh. Sourced, not run.

# The SITE file holds NAME=value lines, which the shell reads:
#   CLUSTER_NAME TIMEZONE SUBNET VIP VIP_BITS
#   HEADS="server1=192.0.2.11 …"   in order of priority
#   COMPUTE="node001=192.0.2.101 …"
#   SSH_KEY SSH_KNOWN_HOSTS
#   DB_ROOT_PASSWORD DB_SST_PASSWORD DB_SLURM_PASSWORD DB_AUTH_PASSWORD
#   REDIS_PASSWORD VRRP_PASSWORD
# It has passwords in it, so it must not be readable by others.
load_site() {
    local mode
    mode=$(stat -c %a "$1")
    case $mode in
    *00) ;;
    *)
        echo "$1 has passwords in it and mode $mode: chmod 600 it" >&2
        return 1
        ;;
    esac
    # shellcheck disable=SC1090 # named on the command line
    . "$1"

    declare -gA ADDRESS=()
    HEAD_NAMES=() COMPUTE_NAMES=()
    local pair
    for pair in $HEADS; do
        HEAD_NAMES+=("${pair%%=*}")
        ADDRESS[${pair%%=*}]=${pair#*=}
    done
    for pair in $COMPUTE; do
        COMPUTE_NAMES+=("${pair%%=*}")
        ADDRESS[${pair%%=*}]=${pair#*=}
    done
    ALL_NAMES=("${HEAD_NAMES[@]}" "${COMPUTE_NAMES[@]}")
    FIRST=${HEAD_NAMES[0]}

    SSH=(ssh -i "$SSH_KEY" -o UserKnownHostsFile="$SSH_KNOWN_HOSTS"
        -o StrictHostKeyChecking=yes -o BatchMode=yes -o ConnectTimeout=5 -o LogLevel=ERROR)
}

# use_one_connection makes ssh keep one connection to each host and run every
# later command over it. $1 is a directory that only we can read.
use_one_connection() {
    SSH+=(-o ControlMaster=auto -o "ControlPath=$1/%h" -o ControlPersist=60)
}

close_connections() {
    local name
    for name in "${ALL_NAMES[@]}"; do
        "${SSH[@]}" -O exit "root@${ADDRESS[$name]}" 2>/dev/null || true
    done
}

# on HOST [NAME...] runs the script on its standard input as root on HOST,
# with the shell variables NAME set there as they are here. Both travel over
# standard input: nothing of it, and so no password, shows in a process list.
# The script is parsed as a whole before it starts, so that a command in it
# that reads its input cannot swallow the rest.
on() {
    local name=$1
    shift
    {
        if [ $# -gt 0 ]; then declare -p "$@"; fi
        # shellcheck disable=SC2016 # for the host's shell
        echo 'until_true() { local n=0; until "$@" >/dev/null 2>&1; do n=$((n + 1));' \
            '[ "$n" -lt 300 ] || { echo "gave up waiting for: $1" >&2; return 1; }; sleep 0.2; done; }'
        echo '{'
        cat
        printf '\nexit\n}\n'
    } | "${SSH[@]}" "root@${ADDRESS[$name]}" bash -eu -s
}
