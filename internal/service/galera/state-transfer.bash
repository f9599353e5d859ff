# Managed by multihead; changes are overwritten.
#
# Read by bash before each script that mariadbd runs; it concerns one of them.
# The donor's script first sends a small file and then waits 10 s, whatever
# happens, so every join takes at least that long. Here the donor waits for what
# those seconds stand for, and at most as long:
#  - the joiner has taken the file and closed that connection, so that it is
#    about to take the next one;
#  - no mariadb-upgrade is at work on the donor, as on one that has only just
#    got its own data: it alters tables, and a backup of them meanwhile fails.
# Where anything is not as expected, the 10 s remain.

case "${0##*/}" in
wsrep_sst_mariabackup)
    sleep() {
        if [ "$*" != 10 ] || [ "${WSREP_SST_OPT_ROLE:-}" != donor ] ||
            [ -z "${REMOTEIP:-}" ] || [ -z "${SST_PORT:-}" ] || ! command -v ss >/dev/null; then
            command sleep "$@"
            return
        fi
        case "${tcmd:-}" in
        "socat -u stdio TCP:$REMOTEIP:$SST_PORT"*) ;;
        *)
            command sleep "$@"
            return
            ;;
        esac
        local open turn
        for turn in {1..100}; do
            # As long as our end is not in TIME-WAIT, the joiner may still have
            # the old listener open, and a new connection would be lost with it.
            open=$(ss -Htn state established state fin-wait-1 state fin-wait-2 dst "$REMOTEIP" dport = ":$SST_PORT") || open=unknown
            if [ -z "$open" ] && [ -e "$DATA/mariadb_upgrade_info" -o -e "$DATA/mysql_upgrade_info" ] &&
                ! pgrep -x mariadb-upgrade >/dev/null && ! pgrep -x mysql_upgrade >/dev/null; then
                # The new listener is opened a moment later: until then the
                # connection is refused, and tried again.
                tcmd="$tcmd,retry=300,interval=0.1"
                return
            fi
            command sleep 0.1
        done
    }
    ;;
esac
