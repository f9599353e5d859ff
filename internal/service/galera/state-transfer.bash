# Managed by multihead; changes are overwritten.
#
# Read by bash before each script that mariadbd runs; it concerns one of them.
#
# 1. The donor's script first sends a small file and then waits 10 s, whatever
# happens, so every join takes at least that long. Here the donor waits for what
# those seconds stand for, and at most as long:
#  - the joiner has taken the file and closed that connection, so that it is
#    about to take the next one;
#  - no mariadb-upgrade is at work on the donor, as on one that has only just
#    got its own data: it alters tables, and a backup of them meanwhile fails.
# Where anything is not as expected, the 10 s remain.
#
# 2. The joiner's script deletes what is in the data directory before it takes the
# copy. Here it first looks whose that is: data of another history than the
# cluster's, or of the same one and further, may be the only copy of something, and is
# moved into a directory of its own there (.kept). The histories are told apart by what
# InnoDB itself says, which mariadbd was started with.
#
# 3. No script of a joiner waits for the disk. After a power cut in the half minute after
# a transfer InnoDB had its last position, and what was copied beside it was empty:
# "Incorrect information in file: './mysql/db.frm'", and mariadbd ended at every start
# (seen on two joiners of two). Here the copy is on the disk before the file goes that
# says that it is a part of one.

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

    find() {
        if [[ " $* " != *" -exec rm "* ]] || [ "${WSREP_SST_OPT_ROLE:-}" != joiner ]; then
            command find "$@"
            return
        fi
        keep_other_history || exit 17
        local words=() word
        for word in "$@"; do
            # What was kept stays, now and in every later transfer.
            [ "$word" != "${cpat:-}" ] || word="$word\\|.*/\\.kept$"
            words+=("$word")
        done
        command find "${words[@]}"
    }

    # Moves what is in the data directory aside unless it is known to hold nothing
    # that the cluster has not. An error ends the transfer with nothing deleted.
    #
    # What was moved in part is not judged again: mariadbd is started anew after an
    # error, and would be told by what is left that nothing ever was here. So the rest
    # follows, whatever it looks like, into the directory that was begun (.part).
    keep_other_history() {
        local id='[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}'
        local none=00000000-0000-0000-0000-000000000000
        local own='' seqno=-1 theirs='' at=-1 sum aside='' turn other name
        for name in "$DATA"/.kept/*.part; do
            [ ! -d "$name" ] || aside=${name%.part}
        done
        if [ -z "$aside" ]; then
            if [[ "$(tr '\0' '\n' <"/proc/$WSREP_SST_OPT_PARENT/cmdline")" =~ wsrep[-_]start[-_]position=($id):(-?[0-9]+) ]]; then
                own=${BASH_REMATCH[1]} seqno=${BASH_REMATCH[2]}
            fi
            if [ -z "$own" ] || [ "$own" = $none ]; then
                [[ "$(cat "$DATA/grastate.dat" 2>/dev/null)" =~ uuid:[[:space:]]*($id) ]] || return 0
                own=${BASH_REMATCH[1]} seqno=-1
                [ "$own" != $none ] || return 0 # it never was part of anything
            fi
            [[ "$(cat "$MAGIC_FILE" 2>/dev/null)" =~ ^($id):(-?[0-9]+) ]] && theirs=${BASH_REMATCH[1]} at=${BASH_REMATCH[2]}
            if [ "$own" = "$theirs" ] && { [ "$seqno" -le "$at" ] || [ "$at" -lt 0 ]; }; then
                return 0 # the same history, and behind it
            fi
            if [ "${theirs:14:1}" = 8 ] && [ "$seqno" -ge 0 ]; then
                # The cluster goes on from another one, up to a position; see history.go.
                sum=$(printf %s "$own" | sha256sum) || sum=
                if [ "${sum:0:12}" = "${theirs:0:8}${theirs:9:4}" ] && [ "$seqno" -le $((16#${theirs:24:12})) ]; then
                    wsrep_log_info "The data here goes up to $seqno of $own, and cluster $theirs has all of that"
                    return 0
                fi
            fi
            for other in "${ib_home_dir:-}" "${ib_undo_dir:-}" "${ib_log_dir:-}" "${ar_log_dir:-}"; do
                if [ -n "$other" ] && [ "${other%/}" != "${DATA%/}" ]; then
                    wsrep_log_error "The data here is of $own, and the cluster's of ${theirs:-an unknown history}; part of it lies in $other." \
                        "Nothing is deleted: move $DATA and $other aside by hand"
                    return 1
                fi
            done
            [ "$seqno" -ge 0 ] || seqno=unknown
            aside=$DATA/.kept/$own-$seqno
            while [ -e "$aside" ]; do aside=$aside+; done
        fi
        mkdir -p "$aside.part" || return 1
        # InnoDB's own files go last: where one of the others cannot be moved, mariadbd
        # finds them at its next start and makes no new ones.
        for turn in others innodb; do
            for name in "$DATA"/* "$DATA"/.[!.]*; do
                case $turn:${name##*/} in
                others:ib* | others:undo*) continue ;;
                *:'*' | *:'.[!.]*' | *:.kept | *:.sst | *:sst_in_progress | *:lost+found | *:*.pem | *:galera.cache | *:gvwstate.dat | *:grastate.dat) continue ;;
                esac
                # What mariadbd made in the meantime is moved beside what was here.
                if ! mv --backup=numbered -- "$name" "$aside.part/" || [ -e "$name" ]; then
                    wsrep_log_error "$name could not be kept aside in $aside.part; nothing is deleted"
                    return 1
                fi
            done
        done
        mv -T -- "$aside.part" "$aside" || return 1
        wsrep_log_info "The data here was of another history than the cluster's, ${theirs:-which is not known}, or goes further:" \
            "it may hold what nobody else has and is kept in $aside"
    }
    ;;
esac

case "${0##*/}" in
wsrep_sst_mariabackup | wsrep_sst_rsync)
    rm() {
        local last=${*: -1} dir
        if [ "${last##*/}" != sst_in_progress ] || [ "${WSREP_SST_OPT_ROLE:-}" != joiner ]; then
            command rm "$@"
            return
        fi
        if [ "${0##*/}" = wsrep_sst_rsync ] && [ "${estatus:-0}" != 0 ]; then
            return 0 # it ends with an error, and wrote over what was here: what is left is a part
        fi
        if [ "${WSREP_SST_OPT_BYPASS:-0}" = 0 ]; then # it was sent a copy, and not what it had missed
            for dir in "${last%/*}" "${ib_home_dir:-}" "${ib_undo_dir:-}" "${ib_log_dir:-}" "${ar_log_dir:-}"; do
                if [ -d "$dir" ] && ! sync -f "$dir"; then
                    logger -t "${0##*/}" -p daemon.err "$dir could not be synced: $last stays, and says that the copy may not be whole"
                    return 1
                fi
            done
        fi
        command rm "$@" && sync "${last%/*}"
    }
    ;;
esac
