#!/usr/bin/env bash
# run.sh [options] BIN [up|discover|verdict|heads|all|backup]: measure multihead against what
# a person would do by hand, both in the same run on the same machine.
#
#   up        `multihead up` and serial-up.sh, each on a lab made for it:
#             4 bare-service heads and 2 compute nodes, packages in the image.
#             Turns alternate; after each, accept.sh asks the services whether
#             this is the working cluster that it should be.
#   discover  `multihead discover` and serial-discover.sh in pairs on one
#             healthy cluster, then with a head whose power was cut.
#   verdict   what one verdict on a head's health costs in CPU time: the agent's,
#             and that of check_all_services.sh, five client calls.
#   heads     `multihead discover` of 200 simulated heads.
#   backup    a snapshot, and mariadb-dump, gzip and tar; not part of all, for at
#             full size it takes long and 40 GB of disk (backup.sh has the sizes).
#
# Options: --runs N (up, 3), --pairs N (discover, 10), --seconds N
#          (verdict, each of its three windows, 60), --json FILE,
#          --form serial|multihead (who forms the cluster for discover),
#          --serial OPTIONS (of serial-up.sh, such as --quick-sst).
#
# It prints what it measured and judges nothing: exit 1 means that a side
# failed or its cluster was not accepted, not that it was slow. Anything else
# that runs on the machine is in the numbers; the load is printed beside them.
#
# shellcheck disable=SC2317 # the trap and the sides are called by name
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
    sed -n '2,/^# shellcheck/{/^# shellcheck/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2
    exit 2
}
runs=3 pairs=10 seconds=60 json='' form=multihead serial=''
while [ $# -gt 0 ]; do
    case $1 in
    --runs | --pairs | --seconds | --json | --form | --serial)
        [ $# -gt 1 ] || usage
        printf -v "${1#--}" '%s' "$2"
        shift
        ;;
    -*) usage ;;
    *) break ;;
    esac
    shift
done
case $# in 1 | 2) ;; *) usage ;; esac
bin=$(realpath "$1")
what=${2:-all}
case $what in up | discover | verdict | heads | all | backup) ;; *) usage ;; esac
case $form in serial | multihead) ;; *) usage ;; esac
for tool in jq ssh nsenter; do
    command -v "$tool" >/dev/null || {
        echo "bench: $tool is missing (apt-get install jq openssh-client util-linux)" >&2
        exit 1
    }
done

work=$(mktemp -d)
lab=bench$$
bad=0
[ "$what" != backup ] || exec bash "$here/backup.sh" "$bin"

cleanup() {
    trap - EXIT INT TERM
    if [ -n "$running" ]; then
        kill "$running" 2>"$work/down" || true # timeout passes it on
        wait "$running" || true
    fi
    "$bin" lab down --name "$lab" -q >"$work/down" 2>&1 || cat "$work/down" >&2
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

note() { printf '%s  %s\n' "$(date +%T)" "$*" >&2; }
load() { cut -d' ' -f1 /proc/loadavg; }

# timed FILE COMMAND... runs it with its output in FILE and leaves the seconds
# it took in $took and the machine's load before and after in $loads. What is
# not done after a quarter of an hour has failed. It is waited for in the
# background: only so does a signal to this script end it at once.
running=''
timed() {
    local file=$1 before began ended status=0
    shift
    before=$(load)
    began=$EPOCHREALTIME
    timeout --kill-after=30 900 "$@" >"$file" 2>"$file.err" </dev/null &
    running=$!
    wait "$running" || status=$?
    running=''
    ended=$EPOCHREALTIME
    took=$(LC_ALL=C awk -v a="$began" -v b="$ended" 'BEGIN { printf "%.3f", b - a }')
    loads="$before-$(load)"
    return "$status"
}

# sample BENCH SIDE ok|failed keeps a measurement.
sample() {
    jq -cn --arg bench "$1" --arg side "$2" --arg s "$took" --arg load "$loads" --arg state "$3" \
        '{$bench, $side, seconds: ($s | tonumber), $load, ok: ($state == "ok")}' >>"$work/samples"
}

# fresh makes the lab anew, from the same image every time, and writes the site
# file that the scripts read. The two sides never meet each other's leavings.
fresh() {
    "$bin" lab down --name "$lab" -q
    "$bin" lab up --name "$lab" --heads 4 --compute 2 -q >/dev/null
    dir=$(dirname "$("$bin" lab list | awk -v l="$lab" '$1 == l { print $NF }')")
    install -m 600 /dev/null "$work/site"
    {
        printf 'CLUSTER_NAME=%s\nTIMEZONE=Asia/Seoul\nSUBNET=192.0.2.0/24\nVIP=192.0.2.100\nVIP_BITS=24\n' "$lab"
        "$bin" lab status --name "$lab" | awk '
            $2 == "head" { h = h " " $1 "=" $3 }
            $2 == "compute" { c = c " " $1 "=" $3 }
            END { printf "HEADS=\"%s\"\nCOMPUTE=\"%s\"\n", substr(h, 2), substr(c, 2) }'
        printf 'SSH_KEY=%s\nSSH_KNOWN_HOSTS=%s\n' "$dir/id_ed25519" "$dir/known_hosts"
        cat "$dir/secrets.env"
    } >"$work/site"
}

accepted() {
    nsenter --net="$dir/netns" "$here/accept.sh" "$work/site" >"$work/accept" 2>&1 && return 0
    grep -v '^ok ' "$work/accept" >&2
    return 1
}

# ------------------------------------------------------------------------ up

form_by() {
    case $1 in
    multihead) timed "$work/up" "$bin" "--lab=$lab" up --yes ;;
    serial)
        # shellcheck disable=SC2086 # several options in one word
        timed "$work/up" nsenter --net="$dir/netns" "$here/serial-up.sh" $serial --timings "$work/steps" "$work/site"
        ;;
    esac
}

bench_up() {
    local run side order state
    for ((run = 1; run <= runs; run++)); do
        order='multihead serial'
        if ((run % 2 == 0)); then order='serial multihead'; fi
        for side in $order; do
            fresh
            state=ok
            if ! form_by "$side"; then
                state=failed
                tail -n 20 "$work/up" "$work/up.err" >&2
            elif ! accepted; then
                state=failed
            fi
            if [ "$state" = failed ]; then bad=1; fi
            note "up, run $run, $side: $took s, load $loads, $state"
            sample up "$side" "$state"
            if [ "$side" = serial ]; then
                awk -F'\t' -v OFS='\t' '{ print $1, $2 }' "$work/steps" >>"$work/allsteps"
            fi
        done
    done
}

# ------------------------------------------------------------------ discover

multihead_discover() { timed "$work/found" "$bin" "--lab=$lab" discover -o json; }
serial_discover() { timed "$work/found" nsenter --net="$dir/netns" "$here/serial-discover.sh" "$work/site"; }
mux_discover() { timed "$work/found" nsenter --net="$dir/netns" "$here/serial-discover.sh" --mux "$work/site"; }

# discover_once BENCH SIDE ACTIVE STATE measures one and holds its answer
# against what is so.
discover_once() {
    local state=ok said
    "$2_discover" || state=failed
    said=$(jq -r '"\(.total_controllers) \(.active_controllers) \(.cluster_state) \(.vip_owner)"' <"$work/found" 2>/dev/null || true)
    if [ "$said" != "4 $3 $4 server1" ]; then
        state=failed bad=1
        note "$1, $2: wrong answer: '$said' instead of '4 $3 $4 server1'"
        cat "$work/found.err" >&2
    fi
    sample "$1" "$2" "$state"
}

bench_discover() {
    local pair
    fresh
    note "discover: forming the cluster ($form)"
    if ! form_by "$form" || ! accepted; then
        tail -n 20 "$work/up" "$work/up.err" >&2
        bad=1
        return 0
    fi
    for ((pair = 1; pair <= pairs; pair++)); do
        if ((pair % 2)); then
            discover_once discover multihead 4 healthy
            discover_once discover serial 4 healthy
        else
            discover_once discover serial 4 healthy
            discover_once discover multihead 4 healthy
        fi
        discover_once discover mux 4 healthy
    done
    note "discover: $pairs pairs done; cutting the power of server4"
    "$bin" lab power-off --name "$lab" server4 -q >/dev/null
    for pair in 1 2 3; do discover_once discover-one-off multihead 3 degraded; done
    discover_once discover-one-off serial 3 degraded
}

# ------------------------------------------------------------------- verdict

bench_verdict() {
    fresh
    note "verdict: forming the cluster"
    if ! form_by multihead; then
        tail -n 20 "$work/up" "$work/up.err" >&2
        bad=1
        return 0
    fi
    # On a head that neither holds the address nor is Slurm's primary: the script
    # would have the same to do there.
    "$bin" lab exec --name "$lab" server3 -- bash -c 'cat >/run/verdict.sh' <"$here/verdict.sh"
    if ! "$bin" lab exec --name "$lab" server3 -- bash /run/verdict.sh "$seconds" \
        <"$here/check_all_services.sh" >"$work/verdict"; then
        bad=1
    fi
    jq -c . "$work/verdict" >&2
    if [ "$(jq '.script.failed' "$work/verdict")" != 0 ]; then bad=1; fi
}

# --------------------------------------------------------------------- heads

bench_heads() {
    note "heads: 200 simulated heads"
    (cd "$here/.." && go build -o "$work/manyheads" ./bench)
    "$work/manyheads" -bin "$bin" -heads 200 -runs 5 >"$work/heads" || bad=1
    jq . "$work/heads" >/dev/null
}

# -------------------------------------------------------------------- report

report() {
    jq -n --slurpfile samples "$work/samples" --slurpfile heads "$work/heads" --slurpfile verdict "$work/verdict" \
        --rawfile steps "$work/allsteps" --arg cores "$(nproc)" --arg version "$("$bin" --version 2>/dev/null | head -n 1)" '
        def median: sort | if length == 0 then null elif length % 2 == 1 then .[length / 2 | floor]
            else (.[length / 2 - 1] + .[length / 2]) / 2 end;
        def r2: if . == null then null else . * 1000 | round / 1000 end;
        def side($b; $s): [$samples[] | select(.bench == $b and .side == $s)] |
            if length == 0 then null else
            {runs: length, failed: map(select(.ok | not)) | length, median_s: map(select(.ok).seconds) | median | r2,
             seconds: map(.seconds), load: map(.load)} end;
        def ratio($a; $b): if $a.median_s != null and $b.median_s != null then $a.median_s / $b.median_s | r2 else null end;
        def bench($b): {multihead: side($b; "multihead"), serial: side($b; "serial")} | . + {ratio: ratio(.multihead; .serial)} |
            if .multihead.runs == .serial.runs and .multihead != null then
                .ratio_by_run = ([.multihead.seconds, .serial.seconds] | transpose | map(.[0] / .[1] | r2)) else . end;
        {version: $version, cores: ($cores | tonumber),
         up: (bench("up") + {serial_steps: ($steps | split("\n") | map(select(. != "") | split("\t")) |
            reduce .[] as $x ([]; if any(.[]; .step == $x[0]) then map(if .step == $x[0] then .all += [$x[1] | tonumber] else . end)
                else . + [{step: $x[0], all: [$x[1] | tonumber]}] end) |
            map({step, median_s: (.all | median | r2)}))}),
         discover: (bench("discover") + {serial_one_connection: side("discover"; "mux")} |
            . + {ratio_one_connection: ratio(.multihead; .serial_one_connection)}),
         discover_one_off: (bench("discover-one-off") + {limit_s: 5}),
         verdict: $verdict[0],
         heads: $heads[0]}' >"$work/result"
    if [ -n "$json" ]; then cp "$work/result" "$json"; fi
    echo
    jq -r '
        def s: if . == null then "failed" else "\(.) s" end;
        def line($name; $a; $b; $other; $ratio): select($a != null or $b != null) |
            "\($name) \($a.median_s | s), \($other) \($b.median_s | s), ratio \($ratio // "-")   (medians of \($a.runs // 0) and \($b.runs // 0) runs)";
        (.up | line("multihead up"; .multihead; .serial; "serial script"; .ratio)),
        (.up.serial_steps | select(length > 0) | "  serial steps: " + (map("\(.step) \(.median_s)") | join(", "))),
        (.discover | line("multihead discover"; .multihead; .serial; "serial loop"; .ratio)),
        (.discover | line("multihead discover"; .multihead; .serial_one_connection; "the loop over one connection per head"; .ratio_one_connection)),
        (.discover_one_off | line("multihead discover, one head off (limit \(.limit_s) s)"; .multihead; .serial; "serial loop"; .ratio)),
        (.verdict | select(. != null) | "a verdict on health: agent \(.agent.process_ms) ms of CPU, script \(.script.client_ms) ms, ratio 1/\(.ratio); with what the daemons used for it \(.agent.process_ms + .agent.daemons_ms) and \(.script.client_ms + .script.daemons_ms) ms, 1/\(.ratio_with_daemons)   (\(.agent.verdicts) and \(.script.verdicts) verdicts)"),
        (.heads | select(. != null) | "multihead discover of \(.heads) simulated heads \(.median_s) s, peak memory \(.max_rss_mb) MB   (median and largest of \(.runs) runs)")
        ' "$work/result"
    echo
    jq -c . "$work/result"
}

: >"$work/samples"
: >"$work/allsteps"
: >"$work/heads"
: >"$work/verdict"
case $what in up | all) bench_up ;; esac
case $what in discover | all) bench_discover ;; esac
case $what in verdict | all) bench_verdict ;; esac
case $what in heads | all) bench_heads ;; esac
report
exit "$bad"
